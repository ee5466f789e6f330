//! The tables of the specification say what the code says.

use std::path::Path;

use valkyrie_frame::{
    Class, ErrorCode, Flags, Header, Kind, MAGIC, MAX_PAYLOAD_BYTES, Side, StreamId, VERSION, extension_type,
};

/// The rows of all tables of a page whose first columns are `head`: cells trimmed, without code
/// marks.
fn table(page: &str, head: &[&str]) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/protocol")
        .join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let mut found = Vec::new();
    for block in text.split("\n\n").filter(|block| block.starts_with('|')) {
        let mut rows = block.lines().map(|line| {
            let line = line.trim_matches('|');
            let cells = line.split('|').map(|cell| cell.trim().replace('`', ""));
            cells.collect::<Vec<_>>()
        });
        let columns = rows.next().unwrap();
        if columns.len() >= head.len() && columns.iter().zip(head).all(|(column, wanted)| column == wanted) {
            found.extend(rows.skip(1));
        }
    }
    assert!(!found.is_empty(), "{page} has no table {head:?}");
    found
}

fn hex(cell: &str) -> u8 {
    u8::from_str_radix(cell.strip_prefix("0x").unwrap(), 16).unwrap()
}

#[test]
fn types_are_those_of_the_specification() {
    let found: Vec<_> = table("types.md", &["type", "name"])
        .into_iter()
        .map(|row| (hex(&row[0]), row[1].clone()))
        .collect();
    let expected: Vec<_> = Kind::KNOWN
        .iter()
        .map(|kind| (kind.byte(), kind.name().unwrap().to_owned()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn flags_are_those_of_the_specification() {
    let found: Vec<_> = table("header.md", &["bit", "name"])
        .into_iter()
        .map(|row| (hex(&row[0]), row[1].clone()))
        .collect();
    let expected = Flags::ALL.map(|(flag, name)| (flag.bits(), name.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn the_layout_adds_up_to_the_header() {
    let mut next = 0;
    for row in table("header.md", &["offset", "bytes", "field"]) {
        assert_eq!(row[0].parse(), Ok(next), "{}", row[2]);
        next += row[1].parse::<usize>().unwrap();
    }
    assert_eq!(next, Header::LEN);
}

#[test]
fn error_codes_are_those_of_the_specification() {
    let found: Vec<_> = table("errors.md", &["code", "name", "meaning"])
        .into_iter()
        .map(|row| {
            let grpc = row[3].split(' ').next().unwrap().parse::<u8>().unwrap();
            let code = row[0].parse::<u32>().unwrap();
            assert!(!row[5].is_empty(), "{code} does not say what to do");
            (code, row[1].clone(), grpc, row[4].parse::<u16>().unwrap())
        })
        .collect();
    let expected: Vec<_> = ErrorCode::KNOWN
        .iter()
        .map(|code| {
            let name = code.name().unwrap().to_owned();
            (code.value(), name, code.grpc_status(), code.http_status())
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn families_map_codes_without_a_name_as_the_specification_says() {
    let rows = table("errors.md", &["codes", "family"]);
    assert_eq!(rows.len(), 7);
    for row in rows {
        let last = row[0].split('–').nth(1).unwrap().parse::<u32>().unwrap();
        let code = ErrorCode::new(last);
        assert_eq!(code.name(), None, "the last code of each family has no name");
        assert_eq!(format!("{:?}", code.family().unwrap()).to_lowercase(), row[1]);
        assert!(row[4].starts_with(&format!("{} ", code.grpc_status())), "{row:?}");
        assert_eq!(row[5], code.http_status().to_string(), "{row:?}");
    }
}

#[test]
fn classes_bands_and_lanes_are_those_of_the_specification() {
    let classes = table("streams.md", &["class", "ids"]);
    let bands = table("streams.md", &["class", "lowest"]);
    let lanes = table("streams.md", &["class", "dialler's lane"]);
    assert_eq!((classes.len(), bands.len(), lanes.len()), (5, 5, 5));
    for (index, class) in Class::ALL.into_iter().enumerate() {
        let range = StreamId::range(class);
        let ids = if range.start() == range.end() {
            range.start().to_string()
        } else {
            format!("{}–{}", range.start(), range.end())
        };
        assert_eq!(classes[index][..2], [class.name().to_owned(), ids]);
        let (low, high) = (class.band().start().to_string(), class.band().end().to_string());
        let default = class.default_priority().byte().to_string();
        assert_eq!(bands[index], [class.name().to_owned(), low, default, high]);
        let lane = |side| StreamId::lane(class, side).to_string();
        assert_eq!(
            lanes[index],
            [class.name().to_owned(), lane(Side::Dialer), lane(Side::Acceptor)]
        );
    }
}

#[test]
fn extensions_are_those_of_the_specification() {
    let rows = table("extensions.md", &["type", "sent as", "name"]);
    let types: Vec<_> = rows[..7].iter().map(|row| hex(&row[0])).collect();
    assert_eq!(
        types,
        [
            extension_type::TRACE_CONTEXT,
            extension_type::TRACE_STATE,
            extension_type::DEADLINE,
            extension_type::IDEMPOTENCY_KEY,
            extension_type::SENT_AT,
            extension_type::SENT_AT_ECHO,
            extension_type::ROUTE,
        ]
    );
    assert_eq!(
        hex(&rows[6][1]),
        extension_type::ROUTE | extension_type::MUST_UNDERSTAND
    );
    let grease: Vec<_> = rows[7][0].split(", ").map(hex).collect();
    assert_eq!(grease, extension_type::GREASE);
}

#[test]
fn constants_are_those_of_the_specification() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol/header.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(&format!("{MAGIC:#06x}")));
    assert!(text.contains(&format!("| `version` | {VERSION} |")));
    assert_eq!(MAX_PAYLOAD_BYTES, 67_108_864);
    assert!(text.contains("67,108,864"));
}
