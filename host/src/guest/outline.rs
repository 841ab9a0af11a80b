//! What a component would cost to compile, told from its outline: how many functions, and how large.
//!
//! Called by `guest::component` before the compiler, which has no limits of its own below those of the binary
//! format (a million functions, 7.6 MB each). Reads lengths and skips what they are of: some 10 us a megabyte. What
//! is malformed is left to the compiler to complain about. Source of the format: WebAssembly core specification,
//! 5.5, and component-model/design/mvp/Binary.md.

use crate::config::EngineConfig;

/// Most modules and components inside each other. Count; wit-component makes two levels.
const DEPTH_MAX: usize = 100;

/// Sections of modules and components that are looked into.
const CODE: u8 = 10;
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;

/// Bytes before the first section: magic number, version, layer.
const HEADER_BYTES: usize = 8;

/// What compiling depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// In all its modules.
    functions: usize,
    /// The largest, in bytes.
    function_bytes_max: usize,
    /// Modules and components inside each other.
    depth: usize,
}

impl Outline {
    /// Of a component, as far as it is well-formed.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut outline = Self::default();
        // What is malformed ends the walk, and the compiler says where.
        let _well_formed = outline.walk(bytes);
        outline
    }

    /// Why it is not compiled, if it is not.
    pub(super) fn fault(self, config: &EngineConfig) -> Option<String> {
        let Self {
            functions,
            function_bytes_max: bytes,
            depth,
        } = self;
        if depth > DEPTH_MAX {
            return Some(format!(
                "it has {depth} modules or components inside each other, more than the limit of {DEPTH_MAX}"
            ));
        }
        if functions > config.functions_max {
            return Some(format!(
                "it has {functions} functions, more than the limit of {} (functions_max)",
                config.functions_max
            ));
        }
        (bytes > config.function_bytes_max).then(|| {
            format!(
                "its largest function has {bytes} bytes, more than the limit of {} (function_bytes_max)",
                config.function_bytes_max
            )
        })
    }

    /// Looks at all sections, those of what is inside too. None where it is malformed.
    fn walk(&mut self, component: &[u8]) -> Option<()> {
        // What is left to be looked at on each level, and whether that is a component: without recursion, which a
        // file could drive.
        let mut inside = vec![(component.get(HEADER_BYTES..)?, true)];
        while let Some((sections, is_component)) = inside.pop() {
            let Some((id, after)) = sections.split_first() else {
                continue;
            };
            let (section, following) = sized(after)?;
            inside.push((following, is_component));
            match (is_component, *id) {
                (true, CORE_MODULE) => inside.push((section.get(HEADER_BYTES..)?, false)),
                (true, COMPONENT) => inside.push((section.get(HEADER_BYTES..)?, true)),
                (false, CODE) => self.functions(section)?,
                _ => {}
            }
            self.depth = self.depth.max(inside.len());
        }
        Some(())
    }

    fn functions(&mut self, code: &[u8]) -> Option<()> {
        let (count, mut bodies) = number(code)?;
        self.functions = self.functions.saturating_add(count);
        while !bodies.is_empty() {
            let (body, following) = sized(bodies)?;
            self.function_bytes_max = self.function_bytes_max.max(body.len());
            bodies = following;
        }
        Some(())
    }
}

/// What a length goes before, and what comes after that.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = number(bytes)?;
    rest.split_at_checked(len)
}

/// An unsigned number of 32 bits in LEB128, and what comes after it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
    const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let mut len = content.len();
        let mut section = vec![id];
        while len >= 0x80 {
            section.push(u8::try_from(len & 0x7f).expect("seven bits") | 0x80);
            len >>= 7;
        }
        section.push(u8::try_from(len).expect("seven bits"));
        section.extend(content);
        section
    }

    /// A module with functions of these sizes.
    fn module(sizes: &[usize]) -> Vec<u8> {
        let mut code = vec![u8::try_from(sizes.len()).expect("few")];
        for size in sizes {
            // A section without its id is a body.
            code.extend(&section(0, &vec![0; *size])[1..]);
        }
        [&MODULE[..], &section(0, b"custom"), &section(CODE, &code)].concat()
    }

    fn component(inside: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let sections = inside.iter().map(|(id, content)| section(*id, content));
        let sections: Vec<_> = sections.collect();
        [&COMPONENT_HEADER[..], &sections.concat()].concat()
    }

    #[test]
    fn functions_of_all_modules_count() {
        let inner = component(&[(CORE_MODULE, module(&[300]))]);
        let outer = component(&[
            (CORE_MODULE, module(&[5, 7])),
            (COMPONENT, inner),
            (CORE_MODULE, module(&[1])),
        ]);
        let outline = Outline::of(&outer);
        assert_eq!((outline.functions, outline.function_bytes_max), (4, 300));
        assert!(outline.depth < 10, "{outline:?}");
        let config = EngineConfig::default();
        assert_eq!(outline.fault(&config), None);
        for (functions_max, function_bytes_max) in [(3, 300), (4, 299)] {
            let config = EngineConfig {
                functions_max,
                function_bytes_max,
                ..config.clone()
            };
            assert!(outline.fault(&config).is_some());
        }
    }

    #[test]
    fn nesting_is_counted_without_recursion() {
        let mut nested = component(&[]);
        for _ in 0..2000 {
            nested = component(&[(COMPONENT, nested)]);
        }
        let fault = Outline::of(&nested).fault(&EngineConfig::default());
        assert!(fault.expect("too deep").contains("inside each other"));
    }

    #[test]
    fn what_is_malformed_does_no_harm() {
        let whole = component(&[(CORE_MODULE, module(&[5, 7]))]);
        for end in 0..whole.len() {
            Outline::of(&whole[..end]);
        }
        Outline::of(&[0xff; 100]);
        Outline::of(
            &[
                &COMPONENT_HEADER[..],
                &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ]
            .concat(),
        );
    }
}
