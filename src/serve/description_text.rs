//! The text of a description, made once for all clients that know the server by one name: with the catalog it has some
//! megabytes.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::crds::ServerInfo;

/// The method that tells the description.
pub(super) const SERVER_INFO: &str = "get_server_info";

/// The text that was asked for last.
#[derive(Default)]
pub(super) struct DescriptionText(Mutex<Option<Made>>);

struct Made {
    info: Weak<ServerInfo>,
    base: String,
    text: Bytes,
}

impl DescriptionText {
    /// A description as JSON, for clients that know the server as `base`. It takes a while to make; those who ask for it
    /// meanwhile wait.
    pub(super) fn of(&self, info: &Arc<ServerInfo>, base: &str) -> Bytes {
        let mut last = self.0.lock();
        let is_it = |made: &&Made| made.base == base && made.info.ptr_eq(&Arc::downgrade(info));
        if let Some(made) = last.as_ref().filter(is_it) {
            return made.text.clone();
        }
        let text = ServerInfo::clone(info).served_at(base).to_json().to_string();
        let text = Bytes::from(text);
        *last = Some(Made {
            info: Arc::downgrade(info),
            base: base.to_owned(),
            text: text.clone(),
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crds::Observatory;

    #[test]
    fn clients_of_one_name_share_a_text() {
        let texts = DescriptionText::default();
        let info = Arc::new(ServerInfo::empty(Observatory::Hst));
        let first = texts.of(&info, "http://a/hst");
        assert!(first.windows(12).any(|part| part == b"http://a/hst"));
        assert_eq!(texts.of(&info, "http://a/hst").as_ptr(), first.as_ptr());
        let other = texts.of(&info, "http://b/hst");
        assert!(other.windows(12).any(|part| part == b"http://b/hst"));
        let newer = Arc::new(ServerInfo::clone(&info));
        assert_ne!(texts.of(&newer, "http://b/hst").as_ptr(), other.as_ptr());
    }
}
