//! Tile-compressed images: a binary table whose header astropy shows as that of the image it holds.

use super::card::{self, Card, Value};
use super::texts;

/// Columns of a table are described by these keywords, with the column's number after them.
const TABLE_LABELS: [&str; 15] = [
    "TTYPE", "TFORM", "TUNIT", "TNULL", "TSCAL", "TZERO", "TDISP", "TBCOL", "TDIM", "TCTYP", "TCUNI",
    "TCRPX", "TCRVL", "TCDLT", "TRPOS",
];
const COMPRESSION_LABELS: [&str; 4] = ["ZNAXIS", "ZTILE", "ZNAME", "ZVAL"];
/// Keywords of the table that its image does not show.
const HIDDEN: [&str; 33] = [
    "SIMPLE", "XTENSION", "BITPIX", "NAXIS", "EXTEND", "PCOUNT", "GCOUNT", "GROUPS", "BSCALE", "BZERO",
    "TFIELDS", "THEAP", "CHECKSUM", "DATASUM", "ZSIMPLE", "ZTENSION", "ZBITPIX", "ZNAXIS", "ZEXTEND",
    "ZBLOCKED", "ZPCOUNT", "ZGCOUNT", "ZHECKSUM", "ZDATASUM", "ZIMAGE", "ZCMPTYPE", "ZMASKCMP", "ZQUANTIZ",
    "ZDITHER0", "ZBLANK", "ZSCALE", "ZZERO", "END",
];

/// The header of the image that a compressed table holds, or `None` if the HDU is something else.
pub(super) fn image_header(cards: &[Card]) -> Option<Vec<(String, String)>> {
    let table = matches!(
        cards.first(),
        Some(Card { keyword, value: Value::Text(kind), .. })
            if keyword == "XTENSION" && matches!(kind.as_str(), "BINTABLE" | "A3DTABLE")
    );
    if !table || !super::is(cards, "ZIMAGE") {
        return None;
    }
    let text = |keyword: &str| card::find(cards, keyword).map(|card| card.value.text());
    let own_axes = card::integer(cards, "NAXIS").unwrap_or_default();
    let axes = card::integer(cards, "ZNAXIS").unwrap_or_default().clamp(0, 999);
    let stays = |keyword: &str| {
        let number = keyword
            .strip_prefix("NAXIS")
            .and_then(|number| number.parse::<i128>().ok());
        !hidden(keyword) && number.is_none_or(|number| number > own_axes && number <= axes)
    };
    let mut image = vec![match text("ZSIMPLE") {
        Some(simple) => ("SIMPLE".to_owned(), simple),
        None => ("XTENSION".to_owned(), "IMAGE".to_owned()),
    }];
    let simple = image[0].0 == "SIMPLE";
    let mut put = |keyword: String, text: Option<String>| image.extend(text.map(|text| (keyword, text)));
    put("BITPIX".to_owned(), text("ZBITPIX"));
    put("NAXIS".to_owned(), text("ZNAXIS"));
    for axis in 1..=axes {
        put(format!("NAXIS{axis}"), text(&format!("ZNAXIS{axis}")));
    }
    if !simple {
        put("PCOUNT".to_owned(), text("ZPCOUNT").or(Some("0".to_owned())));
        put("GCOUNT".to_owned(), text("ZGCOUNT").or(Some("1".to_owned())));
    }
    let (commentary, others): (Vec<_>, Vec<_>) = texts(cards)
        .filter(|(keyword, _)| stays(keyword))
        .filter(|(keyword, text)| !(keyword == "EXTNAME" && text == "COMPRESSED_IMAGE"))
        .partition(|(keyword, _)| matches!(keyword.as_str(), "COMMENT" | "HISTORY"));
    image.extend(others);
    let mut restore = |keyword: &str, text: Option<String>| {
        if image.iter().all(|(name, _)| name != keyword) {
            image.extend(text.map(|text| (keyword.to_owned(), text)));
        }
    };
    let truthy = |text: &String| !matches!(text.as_str(), "0" | "0.0" | "-0.0" | "False" | "");
    restore("BSCALE", text("BSCALE").filter(truthy));
    restore("BZERO", text("BZERO").filter(truthy));
    restore("EXTEND", text("ZEXTEND"));
    restore("BLOCKED", text("ZBLOCKED"));
    restore("CHECKSUM", text("ZHECKSUM"));
    restore("DATASUM", text("ZDATASUM"));
    restore("BLANK", blank(cards));
    image.extend(commentary);
    Some(image)
}

/// Integer images say what a missing pixel is; where the table has only a column for it, the smallest number is assumed.
fn blank(cards: &[Card]) -> Option<String> {
    let bits = card::integer(cards, "ZBITPIX").filter(|bits| (1..=64).contains(bits))?;
    if let Some(card) = card::find(cards, "ZBLANK") {
        return Some(card.value.text());
    }
    let column =
        |card: &Card| card.keyword.starts_with("TTYPE") && card.value == Value::Text("ZBLANK".to_owned());
    cards
        .iter()
        .any(column)
        .then(|| format!("-{}", 1_i128 << (bits - 1)))
}

fn hidden(keyword: &str) -> bool {
    let label = keyword
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    HIDDEN.contains(&keyword) || TABLE_LABELS.contains(&label) || COMPRESSION_LABELS.contains(&label)
}
