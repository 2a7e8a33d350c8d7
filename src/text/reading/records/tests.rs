use super::*;

fn read(records: Records, bytes: &[u8], field: &str) -> Result<(String, u64), TextError> {
    let empty = Rc::default();
    let mut text = String::new();
    let mut opened = records.open(bytes, "x", (field, "\n"), Rc::clone(&empty))?;
    let read = opened.read_to_string(&mut text);
    read.map_err(|error| TextError::from_read("x", error))?;
    Ok((text, empty.get()))
}

#[test]
fn a_field_is_read_from_lines_of_json() {
    let lines = b"{\"text\": \"one\\ntwo\", \"n\": [1, {\"text\": 2}]}\n\n{\"text\":null}\n{\"id\":1,\"text\":\"three\\n\"}\n{\"text\":\"\"}\n{\"text\":\"four\"}";
    let (text, empty) = read(Records::Json, lines, "text").unwrap();
    assert_eq!((&*text, empty), ("one\ntwo\nthree\nfour", 2));
    let (text, _) = read(Records::Json, b"{\"a\":\"x\",\"b\":\"y\"}", "b").unwrap();
    assert_eq!(text, "y");
}

#[test]
fn a_field_is_read_from_rows_with_quoted_line_breaks() {
    let rows = b"id,text\n1,\"one, \"\"two\"\"\nthree\"\n2,\n3,four\n";
    let (text, empty) = read(Records::Table(b','), rows, "text").unwrap();
    assert_eq!((&*text, empty), ("one, \"two\"\nthree\nfour", 1));
    let (text, _) = read(Records::Table(b'\t'), b"a\tb\r\nx\ty, z\r\n", "b").unwrap();
    assert_eq!(text, "y, z");
}

#[test]
fn a_missing_field_is_answered_with_those_there_are() {
    for (records, bytes) in [
        (Records::Json, &b"{\"title\":1,\"body\":2}\n"[..]),
        (Records::Table(b','), b"title,body\n1,2\n"),
    ] {
        let error = read(records, bytes, "text").unwrap_err();
        assert!(error.to_string().contains("title, body"), "{error}");
        assert!(matches!(error, TextError::NoField { line: 1, .. }));
    }
}

#[test]
fn pipes_of_records_are_known_by_their_first_line() {
    let long = format!("{{\"text\": \"{}", "a".repeat(HEAD));
    for (head, field, records) in [
        (
            "{\"id\": 1, \"text\": \"a\"}\n{}",
            "text",
            Some(Records::Json),
        ),
        (&long, "text", Some(Records::Json)),
        ("{curly} text", "text", None),
        ("{\n  \"pretty\": 1\n}", "text", None),
        ("{}\n", "text", None),
        ("{", "text", None),
        ("id,body\n1,a\n", "body", Some(Records::Table(b','))),
        ("\"id\"\t\"body\"\n", "body", Some(Records::Table(b'\t'))),
        ("id;body\n1;a\n", "body", Some(Records::Table(b';'))),
        ("id,text\n", "text", None),
        ("Once, body and soul\n", "body", None),
        ("", "body", None),
    ] {
        assert_eq!(Records::of_head(head.as_bytes(), field), records, "{head}");
    }
}

#[test]
fn a_text_that_looks_like_records_is_recognised() {
    for (head, shape) in [
        ("{\"text\": 1}\n{", Some(Shape::JsonLines)),
        ("[\n  {\"text\": 1},\n", Some(Shape::Json)),
        ("{\n  \"text\": [", Some(Shape::Json)),
        ("id,text\n1,a, b\n", Some(Shape::Table)),
        ("id\t\"text\"\n1\ta\n2\tb\n", Some(Shape::Table)),
        ("id;text\n1;a\n", Some(Shape::Table)),
        ("Roses are red, violets\nare blue, and so\n", None),
        ("Yes,no\nPerhaps\n", None),
        ("[Enter HAMLET]\n", None),
        ("{curly}\n", None),
        ("", None),
    ] {
        assert_eq!(Shape::of(head.as_bytes()), shape, "{head}");
    }
}

#[test]
fn a_wrong_record_has_its_line() {
    let json = Records::Json;
    for (records, bytes, part) in [
        (
            json,
            &b"{\"text\":\"a\"}\n{\"text\":7}\n"[..],
            "line 2: the field text is a number",
        ),
        (json, b"\n{\"text\":\"a\"\n", "line 2: not a JSON object"),
        (json, b"{\"text\":\"a\"} {}\n", "line 1: not a JSON object"),
        (
            json,
            b"{\"text\":\"a\"}\n{\"text\":\"b\nc\"}\n",
            "line 2: not a JSON object: the line ends within a string",
        ),
        (
            json,
            b"{\"text\":\"\\ud83d\"}\n",
            "line 1: not a JSON object: an escape such as \\uD83D is half a character",
        ),
        (
            json,
            b"{\"text\":\"a\"}\n{\"id\":1}\n",
            "line 2: no field text, which the records before have",
        ),
        (json, b"[1]\n", "line 1: not a JSON object"),
        (
            Records::Table(b','),
            b"a,text\n1,2\n3\n",
            "line 3: 1 field, where the first line names 2",
        ),
    ] {
        let error = read(records, bytes, "text").unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_quote_that_is_never_closed_is_an_error_and_not_a_full_memory() {
    let error = read(Records::Table(b','), b"id,text\n1,a\n2,\"b\n3,c\n", "text").unwrap_err();
    assert!(
        matches!(error, TextError::Record { line: 3, .. }),
        "{error}"
    );
    let inches = read(
        Records::Table(b','),
        b"id,text\n1,\"a\nb\"\n2,5\" disk\n",
        "text",
    );
    assert_eq!(inches.unwrap().0, "a\nb\n5\" disk");
    let mut table = b"text\n\"".to_vec();
    table.resize(LONGEST + 100_000, b'a');
    let error = read(Records::Table(b','), &table, "text").unwrap_err();
    assert!(
        matches!(error, TextError::Record { line: 2, .. }),
        "{error}"
    );
}

#[test]
fn quotes_count_only_where_they_open_or_close_a_field() {
    let csv = |bytes: &str| read(Records::Table(b','), bytes.as_bytes(), "text");
    for (rows, line, part) in [
        (
            "id,text\n1,5\" disk\n2,\"open\n3,x\n4,y\n",
            3,
            "never closed",
        ),
        ("id,text\n1,5 disk\n2,\"open\n3,x\n4,y\n", 3, "never closed"),
        ("id,text\n2,\"a\"b\n", 2, "goes on after the next quote"),
        (
            "id,text\n2,\"quoted\" start\n",
            2,
            "goes on after the next quote",
        ),
        (
            "id,text\n1,x\n2,\"open\n3,\"x\"\n",
            3,
            "goes on after the next quote",
        ),
        ("\"text\" a,id\n1,x\n", 1, "goes on after the next quote"),
        ("id,text\r\n1,\"a\r\n\"\"", 2, "never closed"),
    ] {
        let error = csv(rows).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("x: line {line}: ")) && error.contains(part),
            "{rows}: {error}"
        );
    }
    for (rows, text) in [
        ("id,text\r\n1,\"a\"\r\n2,5\" and 6\"\r\n", "a\n5\" and 6\""),
        ("id,text\n1, \"a\"b\n", " \"a\"b"),
        ("id,text\n1,\"\"\"a\"\", b\"\n2,\"\"", "\"a\", b"),
    ] {
        assert_eq!(csv(rows).unwrap().0, text, "{rows}");
    }
}

#[test]
fn between_tabs_only_a_whole_field_is_quoted() {
    let rows = "id\t\"text\"\n1\t\"one, \"\"two\"\"\"\n2\t\"three\" four\n3\t\"five\n4\tsix\"\n5\t\"\n6\t\"a\" b\"\n";
    let (text, empty) = read(Records::Table(b'\t'), rows.as_bytes(), "text").unwrap();
    let all = "one, \"two\"\n\"three\" four\n\"five\nsix\"\n\"\n\"a\" b\"";
    assert_eq!((&*text, empty), (all, 0));
}

#[test]
fn semicolons_separate_fields_if_the_names_say_so() {
    for (rows, text) in [
        (
            "id;text\n1;\"one; two, three\"\n2;four, five\n",
            "one; two, three\nfour, five",
        ),
        ("\"id, old\";text\n1;one\n", "one"),
        ("\"id;old\",text\n1,one; two\n", "one; two"),
        ("text,id;old\none; two,1\n", "one; two"),
    ] {
        let (found, _) = read(Records::Table(b','), rows.as_bytes(), "text").unwrap();
        assert_eq!(found, text, "{rows}");
    }
}
