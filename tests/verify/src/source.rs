//! Reads Rust source as far as the suites need it: which text is code, where the atomic operations are, and which
//! function they are in.
//!
//! This is no parser. It knows comments and literals, matches brackets, and trusts the formatter's indentation.

/// The source with comments and the contents of literals blanked. Lines and columns stay where they are.
#[must_use]
pub fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut masked = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + length(bytes, at);
        if end == at {
            at += 1;
            continue;
        }
        for byte in masked[at..end].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        at = end;
    }
    String::from_utf8_lossy(&masked).into_owned()
}

/// The length of the comment or literal that starts at `at`, or 0 where none does.
fn length(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let in_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => string(rest, 1),
        [b'b' | b'c', b'"', ..] if !in_word => string(rest, 2),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 2),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 1),
        [b'\'', ..] => character(rest),
        _ => 0,
    }
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &[u8], opening: usize) -> usize {
    let mut at = opening;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r#name` is a raw identifier, not a string.
fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    let opening = prefix + hashes;
    if rest.get(opening) != Some(&b'"') {
        return 0;
    }
    let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &rest[opening + 1..];
    let end = body.windows(closing.len()).position(|window| window == closing);
    end.map_or(rest.len(), |end| opening + 1 + end + closing.len())
}

/// A lifetime is not a character: it has no closing quote right after its first letter.
fn character(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', _, tail @ ..] => tail.iter().position(|&byte| byte == b'\'').map_or(rest.len(), |n| n + 4),
        [_, first, ..] => {
            let width = match first {
                0..0x80 => 1,
                0x80..0xE0 => 2,
                0xE0..0xF0 => 3,
                _ => 4,
            };
            if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
        }
        _ => 0,
    }
}

/// An atomic operation in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomicCall {
    /// The line of the method's name, counted from 1.
    pub line: usize,
    /// The method, or `fence`.
    pub method: String,
}

const METHODS: [&str; 5] = ["load", "store", "swap", "compare_exchange", "compare_exchange_weak"];
const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// The atomic operations in `code`, which has passed through [`code_only`]. A call is one when it has the name of
/// an atomic operation and names an ordering among its arguments.
#[must_use]
pub fn atomic_calls(code: &str) -> Vec<AtomicCall> {
    let mut calls = Vec::new();
    for (open, _) in code.match_indices('(') {
        let before = &code[..open];
        let start = before.rfind(|c: char| !(c == '_' || c.is_alphanumeric())).map_or(0, |at| at + 1);
        let name = &before[start..];
        let is_method = before[..start].ends_with('.');
        let is_atomic = if is_method {
            METHODS.contains(&name) || name.starts_with("fetch_")
        } else {
            name == "fence" && !before[..start].trim_end().ends_with("fn")
        };
        if is_atomic && words(arguments(&code[open..])).any(|word| ORDERINGS.contains(&word)) {
            calls.push(AtomicCall { line: line_of(before), method: name.to_owned() });
        }
    }
    calls
}

fn arguments(from_bracket: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in from_bracket.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return &from_bracket[..at];
        }
    }
    from_bracket
}

/// The identifiers and keywords in `code`.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c == '_' || c.is_alphanumeric())).filter(|word| !word.is_empty())
}

fn line_of(before: &str) -> usize {
    before.bytes().filter(|&byte| byte == b'\n').count() + 1
}

/// The name of the function that contains `line` (counted from 1): the nearest `fn` among the lines above that
/// enclose it, as their indentation shows.
#[must_use]
pub fn enclosing_function(code: &str, line: usize) -> Option<&str> {
    let lines: Vec<&str> = code.lines().take(line).collect();
    let (last, above) = lines.split_last()?;
    if let Some(name) = function_name(last) {
        return Some(name);
    }
    let mut inside = indentation(last);
    for text in above.iter().rev() {
        // Of a signature over several lines only the first counts, not `) -> T`, `where` or `{`.
        let starts_item = text.trim_start().starts_with(char::is_alphabetic) && text.trim() != "where";
        if starts_item && indentation(text) < inside {
            if let Some(name) = function_name(text) {
                return Some(name);
            }
            inside = indentation(text);
        }
    }
    None
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = words(line);
    words.by_ref().find(|&word| word == "fn")?;
    // `fn(u8)` is a type.
    words.next().filter(|name| line.contains(&format!("fn {name}")))
}

/// Whether `line` of `file` is code that ships, by the conventions of this workspace: tests, models and fault injection
/// live in files and directories called `models`, `tests`, `faults` or `prop…`, or in inline modules of these names at
/// the end of a file.
#[must_use]
pub fn is_shipped(file: &str, code: &str, line: usize) -> bool {
    let is_proof = |name: &str| {
        matches!(name, "models" | "faults") || name.ends_with("tests") || name.starts_with("prop")
    };
    if file.split('/').any(|part| is_proof(part.trim_end_matches(".rs"))) {
        return false;
    }
    let inline = code.lines().position(|text| {
        let text = text.trim();
        text.ends_with('{') && words(text).skip_while(|&word| word != "mod").nth(1).is_some_and(is_proof)
    });
    inline.is_none_or(|first| line <= first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_in_place() {
        let source =
            "a /* x /* y */ */ b // c\n\"d\\\"\" e 'f' '\\'' &'g h r#\"i\" \"# r#type b\"j\" '\u{e9}' k";
        let code = code_only(source);
        assert_eq!(words(&code).collect::<Vec<_>>(), ["a", "b", "e", "g", "h", "r", "type", "k"]);
        assert_eq!(code.len(), source.len());
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn atomic_calls_are_told_from_others() {
        let code = code_only(
            "x.load(Ordering::Acquire);\nslice.swap(1, 2);\ny\n    .compare_exchange(\n        a,\n        b(),\n        \
             AcqRel,\n        Relaxed,\n    );\nfence(Ordering::SeqCst);\nfn fence(order: Ordering) {}\n// z.load(Relaxed)\n\
             a.store(b.load(Relaxed), Release);\nself.fetch_update(Relaxed, Relaxed, f);\n",
        );
        let found: Vec<(usize, String)> =
            atomic_calls(&code).into_iter().map(|call| (call.line, call.method)).collect();
        let expected = [
            (1, "load"),
            (4, "compare_exchange"),
            (10, "fence"),
            (13, "store"),
            (13, "load"),
            (14, "fetch_update"),
        ];
        assert_eq!(found, expected.map(|(line, method)| (line, method.to_owned())));
    }

    #[test]
    fn functions_are_found_by_indentation() {
        let code = "impl A {\n    fn first(&self) {\n        fn inner() {}\n        if x {\n            y();\n        }\n    \
                    }\n    fn one() { z() }\n    const C: fn(u8) = d;\n}\n";
        assert_eq!(enclosing_function(code, 5), Some("first"));
        assert_eq!(enclosing_function(code, 8), Some("one"));
        assert_eq!(enclosing_function(code, 9), None);
        assert_eq!(
            enclosing_function("fn f<T>(\n    a: T,\n) -> T\nwhere\n    T: B,\n{\n    a\n}\n", 7),
            Some("f")
        );
    }

    #[test]
    fn tests_do_not_ship() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert!(is_shipped("src/a.rs", code, 1));
        assert!(!is_shipped("src/a.rs", code, 4));
        assert!(!is_shipped("src/b/models.rs", "", 1));
        assert!(!is_shipped("src/b/prop_chain.rs", "", 1));
        assert!(!is_shipped("src/sys/faults/plan.rs", "", 1));
        assert!(is_shipped("src/sys/no_faults.rs", "", 1));
        assert!(!is_shipped("src/b/tests/c.rs", "", 1));
        assert!(is_shipped("src/b/tests_kit.rs", "", 1));
    }
}
