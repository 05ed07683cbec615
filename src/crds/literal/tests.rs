use proptest::prelude::*;

use super::*;

fn text(text: &str) -> Value {
    Value::from(text)
}

#[test]
fn every_notation_of_texts() {
    for (source, expected) in [
        (r"'a'", "a"),
        (r#""it's""#, "it's"),
        ("'''two\nlines'''", "two\nlines"),
        (r#""""quote " inside""""#, "quote \" inside"),
        (r"r'\n'", r"\n"),
        (r"u'\x41\u0042\103\U0001F52D'", "ABC🔭"),
        (r"'\ud83d\udd2d'", "🔭"),
        (r"'\N{GREEK SMALL LETTER ALPHA}'", "α"),
        (r"'\N{greek small letter Alpha}\N{Null}'", "α\0"),
        (r"'\a\b\f\n\r\t\v\\\'\q'", "\x07\x08\x0c\n\r\t\x0b\\'\\q"),
        ("'one'   \"two\" r'\\'", "onetwo\\"),
        ("('split '\n 'over '  # why\n 'lines')", "split over lines"),
        ("'joined\\\n line'", "joined line"),
        ("''", ""),
    ] {
        if source.ends_with(r"r'\'") {
            assert!(parse(source).is_err(), "a raw text cannot end in a backslash");
        } else {
            assert_eq!(parse(source), Ok(text(expected)), "{source}");
        }
    }
}

#[test]
fn names_of_characters_are_spelt_as_they_are() {
    for name in [
        "-",
        "-A",
        "NO SUCH",
        "LATINCAPITALLETTERA",
        "LATIN-CAPITAL LETTER A",
        " LATIN CAPITAL LETTER A",
    ] {
        assert!(parse(&format!("'\\N{{{name}}}'")).is_err(), "{name}");
    }
}

#[test]
fn every_notation_of_numbers() {
    for (source, expected) in [
        ("0", Value::Int(0)),
        ("00", Value::Int(0)),
        ("1_000", Value::Int(1000)),
        ("0x_fF", Value::Int(255)),
        ("0o17", Value::Int(15)),
        ("0b101", Value::Int(5)),
        ("-7", Value::Int(-7)),
        ("+7", Value::Int(7)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("9223372036854775808", Value::BigInt("9223372036854775808".into())),
        (
            "-0x10000000000000000",
            Value::BigInt("-18446744073709551616".into()),
        ),
        ("1.", Value::Float(1.0)),
        (".5", Value::Float(0.5)),
        ("1_0.5", Value::Float(10.5)),
        ("-2.5e-3", Value::Float(-0.0025)),
        ("1e3", Value::Float(1000.0)),
    ] {
        assert_eq!(parse(source), Ok(expected), "{source}");
    }
    for source in [
        "01",
        "1__0",
        "1_",
        "0x",
        "1e",
        "1j",
        "12abc",
        "- -1",
        "1 2",
        "9".repeat(5000).as_str(),
    ] {
        assert!(parse(source).is_err(), "{source}");
    }
}

#[test]
fn containers() {
    assert_eq!(parse("()"), Ok(Value::Tuple(vec![])));
    assert_eq!(parse("(1)"), Ok(Value::Int(1)));
    assert_eq!(parse("(1,)"), Ok(Value::Tuple(vec![Value::Int(1)])));
    assert_eq!(
        parse("\n# a comment\n{'a': [None, True,], 'b': {}, 'a': False}\n"),
        Ok(Value::Dict(vec![
            (text("a"), Value::List(vec![Value::None, Value::Bool(true)])),
            (text("b"), Value::Dict(vec![])),
            (text("a"), Value::Bool(false)),
        ]))
    );
    assert_eq!(parse("{'a': 1, 'a': 2}").unwrap().get("a"), Some(&Value::Int(2)));
}

#[test]
fn trouble_is_told_with_its_place() {
    for (source, message) in [
        (
            "{'a': 1,\n 'b' 2}",
            "line 2, column 6: expected ':', found the number 2",
        ),
        ("[1, true]", "line 1, column 5: expected a value, found 'true'"),
        ("{'é': 'open", "line 1, column 7: this text has no closing quote"),
        (
            "[1\n",
            "line 2, column 1: expected ',' or ']', found the end of the text",
        ),
        (
            "'\\ud800'",
            "line 1, column 2: the escape stands for 0xd800, which is no character",
        ),
        (
            "b'x'",
            "line 1, column 1: texts with the prefix 'b' (bytes, f-strings) are not supported",
        ),
        (
            "",
            "line 1, column 1: expected a value, found the end of the text",
        ),
        (
            "'a'\n'b'",
            "line 2, column 1: expected the end of the text, found the text \"b\"",
        ),
    ] {
        assert_eq!(parse(source).unwrap_err().to_string(), message);
    }
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&nested(lexer::MAX_DEPTH)).is_ok());
    assert!(
        parse(&nested(lexer::MAX_DEPTH + 1))
            .unwrap_err()
            .what
            .contains("nested")
    );
    assert!(parse(&"-".repeat(100_000)).is_err());
}

#[test]
fn very_long_lines_are_nothing_special() {
    let items: Vec<Value> = (0..200_000)
        .map(|number| Value::Str(format!("jwst_{number}.fits")))
        .collect();
    let value = Value::Dict(vec![(text("list"), Value::List(items))]);
    assert_eq!(parse(&write(&value)), Ok(value));
}

#[test]
fn floats_print_as_in_python() {
    for (number, expected) in [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e16, "1e+16"),
        (9_999_999_999_999_998.0, "9999999999999998.0"),
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (1.5e300, "1.5e+300"),
        (-1.25e-7, "-1.25e-07"),
        (0.1, "0.1"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
        (5e-324, "5e-324"),
        (991_498_894_573_672.3, "991498894573672.2"),
        (991_498_894_573_672.8, "991498894573672.8"),
    ] {
        assert_eq!(float_text(number), expected);
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        "-?[1-9][0-9]{20,40}".prop_map(Value::BigInt),
        any::<f64>()
            .prop_filter("a NaN has no literal", |number| !number.is_nan())
            .prop_map(Value::Float),
        any::<String>().prop_map(Value::Str),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Tuple),
            prop::collection::vec((inner.clone(), inner), 0..6).prop_map(Value::Dict),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in values()) {
        let written = write(&value);
        prop_assert!(written.is_ascii());
        prop_assert_eq!(parse(&written), Ok(value));
    }

    #[test]
    fn any_text_is_read_or_refused(source in any::<String>()) {
        let _ = parse(&source);
    }

    #[test]
    fn python_like_text_is_read_or_refused(source in r#"[\[\](){},:'"\\ #\r\nrubf0-9a-zA-Z._+x-]{0,60}"#) {
        let _ = parse(&source);
    }
}
