//! Just enough of Rust's syntax to look for words in code without being fooled by text and comments.
//!
//! Called by the rules on Rust sources. Relies on rustfmt: a function's closing brace stands alone, at
//! the indentation of its first line. Knows no rule and no file. Line numbers count from 1.

/// The text with the insides of comments, strings and character literals blanked. Every remaining
/// character keeps its line and column.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_comment_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' | 'b' | 'c' if !is_word_before(&chars, at) => prefixed_string_end(&chars, at),
            '\'' => char_end(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(
                chars[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { c } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Where its first line is.
    pub(crate) line: usize,
    /// How many lines from there to the closing brace, both counted.
    pub(crate) length: usize,
}

/// The functions in code that `code_only` gave, nested ones too.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let lines: Vec<&str> = code.lines().collect();
    let starts = (0..lines.len()).filter_map(|at| Some((at, function_name(lines[at])?)));
    starts
        .filter_map(|(at, name)| {
            let length = body_end(&lines, at)? - at + 1;
            Some(Function {
                name: name.to_owned(),
                line: at + 1,
                length,
            })
        })
        .collect()
}

/// For each line of such code, whether it belongs to a `#[cfg(test)]` module.
pub(crate) fn test_lines(code: &str) -> Vec<bool> {
    let lines: Vec<&str> = code.lines().collect();
    let mut inside = vec![false; lines.len()];
    for at in 0..lines.len() {
        if !lines[at].trim().starts_with("#[cfg(test)]") {
            continue;
        }
        let opens = lines[at..]
            .iter()
            .position(|line| line.trim_end().ends_with('{'));
        let ends = lines[at..]
            .iter()
            .position(|line| line.trim_end().ends_with(';'));
        // `#[cfg(test)] mod tests;` has its body in a file of its own.
        let Some(open) = opens.filter(|open| ends.is_none_or(|end| end > *open)) else {
            continue;
        };
        let close = closing_line(&lines, at + open).unwrap_or(lines.len() - 1);
        inside[at..=close].fill(true);
    }
    inside
}

/// Byte offsets at which `word` stands in `line` as a whole word.
pub(crate) fn word_offsets<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    line.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_word_before(chars: &[char], at: usize) -> bool {
    at > 0 && is_word(chars[at - 1])
}

fn line_comment_end(chars: &[char], at: usize) -> usize {
    let length = chars[at..].iter().position(|&c| c == '\n');
    length.map_or(chars.len(), |length| at + length)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

/// The end of a string whose opening quote is at `quote`.
fn string_end(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of `r"..."`, `r#"..."#`, `b"..."`, `br"..."`, `c"..."` or `b'x'`; `at` when none is there.
fn prefixed_string_end(chars: &[char], at: usize) -> usize {
    let mut quote = at;
    while matches!(chars.get(quote), Some('r' | 'b' | 'c')) && quote < at + 2 {
        quote += 1;
    }
    let raw = chars[at..quote].contains(&'r');
    let hashes = chars[quote..].iter().take_while(|&&c| c == '#').count();
    match chars.get(quote + hashes) {
        Some('"') if raw => {
            let mut close = quote + hashes + 1;
            while close < chars.len() {
                let follow = chars[close + 1..].iter().take_while(|&&c| c == '#').count();
                if chars[close] == '"' && follow >= hashes {
                    return close + 1 + hashes;
                }
                close += 1;
            }
            chars.len()
        }
        Some('"') if hashes == 0 => string_end(chars, quote),
        Some('\'') if hashes == 0 && chars[at..quote] == ['b'] => char_end(chars, quote),
        _ => at,
    }
}

/// The end of a character literal; `at` when the quote begins a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match chars.get(at + 1) {
        Some('\\') => {
            let close = chars[at + 3..].iter().position(|&c| c == '\'');
            close.map_or(chars.len(), |length| at + 3 + length + 1)
        }
        Some(_) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The name, when the line begins a function's signature.
fn function_name(line: &str) -> Option<&str> {
    let at = word_offsets(line, "fn").next()?;
    let qualifier = |word: &str| {
        matches!(word, "default" | "const" | "async" | "unsafe" | "extern")
            || word.starts_with("pub")
            || word.ends_with(')')
    };
    if !line[..at].split_whitespace().all(qualifier) {
        return None;
    }
    let name = line[at + 2..].trim_start();
    let end = name.find(|c| !is_word(c)).unwrap_or(name.len());
    (end > 0).then(|| &name[..end])
}

/// The last line of the function that begins at `start`; none for a declaration without a body.
fn body_end(lines: &[&str], start: usize) -> Option<usize> {
    for (at, line) in lines.iter().enumerate().skip(start) {
        let line = line.trim_end();
        if line.ends_with('{') {
            return closing_line_at(lines, at, indentation(lines[start]));
        }
        if line.ends_with(';') {
            return None;
        }
        if line.ends_with('}') && line.contains('{') {
            return Some(at);
        }
    }
    None
}

fn closing_line(lines: &[&str], open: usize) -> Option<usize> {
    closing_line_at(lines, open, indentation(lines[open]))
}

fn closing_line_at(lines: &[&str], open: usize, indent: usize) -> Option<usize> {
    let closes = |line: &&str| indentation(line) == indent && line.trim_start().starts_with('}');
    lines[open + 1..]
        .iter()
        .position(closes)
        .map(|length| open + 1 + length)
}

#[test]
fn comments_strings_and_characters_are_blanked_in_place() {
    let text =
        "a(\"x // \\\" y\", 'z', '\\'', b'q') // c\nb /* d /* e */ f */ g<'h>(r#\"i\"j\"#) k";
    let code = code_only(text);
    assert_eq!(
        code.split_whitespace().collect::<Vec<_>>(),
        ["a(", ",", ",", ",", ")", "b", "g<'h>(", ")", "k"]
    );
    assert_eq!(code.chars().count(), text.chars().count());
    assert_eq!(code.find('\n'), text.find('\n'));
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let code = "\
impl X {
    pub(crate) async fn long(
        self,
    ) -> u8
    where
        Self: Sized,
    {
        fn inner() {
            1
        }
    }
    fn one_line() {}
    fn declared(&self) -> [u8; 4];
    fn declared_on_lines(
        &self,
    );
    unsafe extern fn last() {
    }
}
type F = fn(u8) -> u8;
";
    let found: Vec<(String, usize, usize)> = functions(code)
        .into_iter()
        .map(|f| (f.name, f.line, f.length))
        .collect();
    let expected = [
        ("long", 2, 10),
        ("inner", 8, 3),
        ("one_line", 12, 1),
        ("last", 17, 2),
    ];
    assert_eq!(
        found,
        expected.map(|(name, line, length)| (name.to_owned(), line, length))
    );
}

#[test]
fn test_modules_are_told_from_the_rest() {
    let code = "a\n#[cfg(test)]\nmod tests;\nb {\n}\n#[cfg(test)]\nmod tests {\n    c\n}\nd\n";
    let expected = [
        false, false, false, false, false, true, true, true, true, false,
    ];
    assert_eq!(test_lines(code), expected);
}

#[test]
fn words_are_whole() {
    let line = "wasmtime wasmtime_wasi xwasmtime (wasmtime)";
    assert_eq!(word_offsets(line, "wasmtime").collect::<Vec<_>>(), [0, 34]);
}
