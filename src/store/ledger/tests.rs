use proptest::prelude::*;

use super::*;
use crate::crds::Observatory;

fn key(number: u8) -> FileKey {
    FileKey {
        observatory: Observatory::Hst,
        name: format!("f{number}.fits").parse().unwrap(),
    }
}
