//! The macro that brings in what `switchboard-guest-build` wrote.

/// Includes the generated code of a package, given its name as in the `.proto`.
///
/// ```text
/// pub mod helloworld {
///     switchboard_guest::include_proto!("helloworld");
/// }
/// ```
///
/// Each package needs a module of its own. Packages that refer to each other need modules nested
/// like their names, which the build script's `include_file` writes.
#[macro_export]
macro_rules! include_proto {
    ($package:literal) => {
        ::core::include!(::core::concat!(
            ::core::env!("OUT_DIR"),
            "/",
            $package,
            ".rs"
        ));
    };
}
