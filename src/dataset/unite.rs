//! The header of a file, united from its several headers or trees.

use super::cross_strap::{cross_strap, is_jwst_instrument};
use super::format::Format;
use super::header::DatasetHeader;
use crate::crds::Observatory;

/// Unites the names and values of a file, in file order, by the rules of spec section 21.
pub(super) fn unite(
    format: Format,
    observatory: Observatory,
    pairs: impl IntoIterator<Item = (String, String)>,
) -> DatasetHeader {
    let mut header = DatasetHeader::new(format, observatory);
    for (name, text) in pairs {
        header.add(name.to_uppercase(), text);
    }
    // The client asks for the instrument, not for the observatory: the instruments of JWST are its own.
    if header.instrument().is_ok_and(|name| is_jwst_instrument(&name)) {
        cross_strap(&mut header);
    }
    header.set("FILE_FORMAT", format.as_str());
    header
}
