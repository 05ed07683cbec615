//! All facts that the checks are about.

use std::collections::BTreeMap;

use super::cache::CacheFacts;
use super::machine::MachineFacts;
use super::mounts::MountFacts;
use super::network::NetworkFacts;
use super::servers::{ServerFacts, SourceFacts};
use super::variables::{Place, Variables};
use crate::cli::client::Packages;
use crate::cli::settings::{Environment, WrongSetting};

/// The facts, as they were gathered.
pub(super) struct Facts {
    pub(super) machine: MachineFacts,
    pub(super) mounts: Vec<MountFacts>,
    /// The directory of the cache; `None` where none is named.
    pub(super) cache: Option<CacheFacts>,
    pub(super) network: NetworkFacts,
    pub(super) servers: Vec<ServerFacts>,
    pub(super) sources: Vec<SourceFacts>,
    pub(super) environment: Environment,
    pub(super) wrong: Vec<WrongSetting>,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) packages: Packages,
    pub(super) has_central_store: bool,
    pub(super) has_own_context: bool,
}

impl Facts {
    /// Those that the variables are judged by.
    pub(super) fn variables(&self) -> Variables<'_> {
        Variables {
            environment: &self.environment,
            wrong: &self.wrong,
            places: &self.places,
            servers: &self.servers,
            mounts: &self.mounts,
            packages: &self.packages,
            has_central_store: self.has_central_store,
            has_own_context: self.has_own_context,
        }
    }
}
