use super::*;

/// Expression, value, and whether Python's `re.match` finds it.
const MATCHES: [(&str, &str, bool); 44] = [
    ("A0", "A0ZZ", true),
    ("A0", "BA0", false),
    ("A|B", "BX", true),
    ("A$", "A\n", true),
    ("A$", "A\n\n", false),
    ("A\\Z", "A\n", false),
    ("A{,1}$", "", true),
    ("A{,}B", "AAB", true),
    ("A{2}$", "AA", true),
    ("A{", "A{", true),
    ("A{x}", "A{x}", true),
    ("{}]", "{}]", true),
    ("[[AB]", "[", true),
    ("[]A]", "]", true),
    ("[^]A]", "]", false),
    ("[A&&B~~||-]", "&", true),
    ("[\\w-]+$", "A-B", true),
    ("[\\]\\-]", "]", true),
    ("[\\b]", "\x08", true),
    ("\\bA\\b", "A B", true),
    ("A(?=B)", "AB", true),
    ("A(?!B)", "AB", false),
    ("AB(?<=B)C", "ABC", true),
    ("AB(?<!B)C", "ABC", false),
    ("(.).*\\1$", "AXA", true),
    ("(.).*\\1$", "AXB", false),
    ("(?P<x>A)(?P=x)", "AA", true),
    ("(A)?B(?(1)C|D)$", "ABC", true),
    ("(A)?B(?(1)C|D)$", "BC", false),
    ("A++A", "AAA", false),
    ("(?>A|AB)C", "ABC", false),
    ("(?i)ab", "AB", true),
    ("(?s).", "\n", true),
    (".", "\n", false),
    ("(?m)A$", "A\nB", true),
    ("(?x) A # letter\n B", "AB", true),
    ("(?i:a)b", "AB", false),
    ("(?#note)A", "A", true),
    ("\\x41\\u0042\\103\\0", "ABC\0", true),
    ("\\N{LATIN SMALL LETTER A}", "a", true),
    ("\\d\\s\\S", "\u{663}\x1cX", true),
    ("\\.\\-\\é", ".-é", true),
    ("A*?B", "AAB", true),
    ("", "anything", true),
];

#[test]
fn expressions_mean_what_python_means() {
    for (pattern, value, expected) in MATCHES {
        let regex = PythonRegex::new(pattern).unwrap();
        assert_eq!(regex.begins(value), expected, "{pattern} on {value:?}");
    }
}

#[test]
fn what_python_refuses_is_refused() {
    let deep = "(".repeat(10_000);
    for pattern in [
        "[",
        "(",
        ")",
        "*",
        "A**",
        "A+*",
        "^*",
        "|*",
        "(?P<x>A)(?P<x>B)",
        "(?P=x)",
        "(\\1)",
        "\\1",
        "\\z",
        "[\\Z]",
        "\\",
        "\\x4",
        "\\8",
        "A(?i)",
        "(?y)",
        "[b-a]",
        "[a-\\d]",
        "[\\d-a]",
        "A{2,1}",
        "(?P<1>A)",
        "(?(2)A|B)",
        "(A)(?(1)B|C|D)",
        "(?<=A*)B",
        "\\N{NO SUCH NAME}",
        &deep,
    ] {
        assert!(PythonRegex::new(pattern).is_err(), "{pattern}");
    }
}
