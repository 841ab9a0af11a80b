//! The macros that make a crate a plugin.
//!
//! They expand in the guest's `cdylib`, so that neither the exports nor the component-type section
//! can be dropped with an unused object of this library. Natively they only check types. The
//! exports' names are those of `wit/handler.wit`; what they do is in `abi::entry`.

/// Makes the crate a plugin that serves these services.
///
/// ```
/// # use switchboard_guest::{ByteService, Method};
/// # static ECHO: ByteService = ByteService::new("echo.Echo", &[]);
/// # static UPPER: ByteService = ByteService::new("text.Upper", &[]);
/// switchboard_guest::export!(ECHO, UPPER);
/// # mod another {
/// # use super::*;
/// // The same, with a limit of its own on request messages, in bytes:
/// switchboard_guest::export!(services: [ECHO, UPPER], max_request_message: 64 * 1024);
/// # }
/// # fn main() {}
/// ```
///
/// Each is an expression of a type that implements [`Service`](crate::Service), evaluated once per
/// instance, at its first call. Use it once in a crate. It installs a panic hook that writes the
/// panic to the host's log.
#[macro_export]
macro_rules! export {
    (services: [$($service:expr),+ $(,)?] $(, max_request_message: $bytes:expr)? $(,)?) => {
        const _: () = {
            fn start() -> $crate::Plugin {
                #[cfg(target_arch = "wasm32")]
                ::std::panic::set_hook(::std::boxed::Box::new(|panic| $crate::abi::panicked(panic)));
                $crate::__plugin!([$($service),+] $($bytes)?)
            }
            $crate::__entry!(start);
        };
    };
    ($($service:expr),+ $(,)?) => {
        $crate::export!(services: [$($service),+]);
    };
}

/// [`export!`] for a crate with `#![cfg_attr(target_arch = "wasm32", no_std)]`: it brings a panic
/// handler, which writes the panic to the host's log and traps, and a small allocator.
#[macro_export]
macro_rules! export_no_std {
    (services: [$($service:expr),+ $(,)?] $(, max_request_message: $bytes:expr)? $(,)?) => {
        const _: () = {
            fn start() -> $crate::Plugin {
                $crate::__plugin!([$($service),+] $($bytes)?)
            }
            $crate::__entry!(start);

            #[cfg(target_arch = "wasm32")]
            #[global_allocator]
            static ALLOCATOR: $crate::abi::Allocator = $crate::abi::Allocator;

            #[cfg(target_arch = "wasm32")]
            #[panic_handler]
            fn panic(panic: &::core::panic::PanicInfo<'_>) -> ! {
                $crate::abi::panicked(panic);
                ::core::arch::wasm32::unreachable()
            }
        };
    };
    ($($service:expr),+ $(,)?) => {
        $crate::export_no_std!(services: [$($service),+]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __plugin {
    ([$($service:expr),+] $($bytes:expr)?) => {
        $crate::Plugin::new($crate::abi::vec![
            $($crate::abi::Box::new($service) as $crate::abi::Box<dyn $crate::Service>),+
        ])$(.max_request_message($bytes))?
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    ($start:ident) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> $crate::Plugin = $start;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[used]
            #[unsafe(link_section = "component-type:switchboard:grpc@0.1.0:plugin")]
            static SECTION: [u8; $crate::abi::SECTION.len()] = *$crate::abi::SECTION;

            #[unsafe(export_name = "cabi_realloc")]
            unsafe extern "C" fn realloc(
                block: *mut u8,
                old_bytes: usize,
                align: usize,
                new_bytes: usize,
            ) -> *mut u8 {
                // SAFETY: the host calls this as the canonical ABI says.
                unsafe { $crate::abi::realloc(block, old_bytes, align, new_bytes) }
            }

            #[unsafe(export_name = "switchboard:grpc/handler@0.1.0#describe")]
            unsafe extern "C" fn describe() -> *const u8 {
                $crate::abi::describe($start)
            }

            #[unsafe(export_name = "cabi_post_switchboard:grpc/handler@0.1.0#describe")]
            unsafe extern "C" fn describe_done(_returned: *const u8) {
                $crate::abi::describe_done();
            }

            #[unsafe(export_name = "switchboard:grpc/handler@0.1.0#unary")]
            unsafe extern "C" fn unary(
                method: u32,
                call: u32,
                request: *mut u8,
                request_bytes: usize,
            ) -> *const u8 {
                // SAFETY: the host calls this as the canonical ABI says: the request was
                // allocated with `cabi_realloc` and is ours, `call` is a handle of ours.
                unsafe { $crate::abi::unary($start, method, call, request, request_bytes) }
            }

            #[unsafe(export_name = "cabi_post_switchboard:grpc/handler@0.1.0#unary")]
            unsafe extern "C" fn unary_done(_returned: *const u8) {
                $crate::abi::call_done();
            }

            #[unsafe(export_name = "switchboard:grpc/handler@0.1.0#stream")]
            unsafe extern "C" fn stream(method: u32, call: u32) -> *const u8 {
                $crate::abi::stream($start, method, call)
            }

            #[unsafe(export_name = "cabi_post_switchboard:grpc/handler@0.1.0#stream")]
            unsafe extern "C" fn stream_done(_returned: *const u8) {
                $crate::abi::call_done();
            }
        };
    };
}
