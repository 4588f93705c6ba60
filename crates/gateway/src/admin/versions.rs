//! Former versions of objects.

use bytes::Bytes;

use super::{AdminResponse, error::AdminError, service::Admin};
use crate::objects::Version;

impl Admin {
    /// What happened to an object, the newest first. A deleted one still has its versions.
    pub(super) async fn versions(&self, name: &str, yaml: bool) -> Result<AdminResponse, AdminError> {
        let versions = self.store.versions(name).await.map_err(AdminError::Store)?;
        match versions.is_empty() {
            true => Err(AdminError::NotFound(format!("no version of {name} is kept"))),
            false => Ok(AdminResponse::value(&versions, yaml)),
        }
    }

    /// The spec of one version.
    pub(super) async fn version(&self, name: &str, asked: &str, yaml: bool) -> Result<AdminResponse, AdminError> {
        let (version, text) = self.kept(name, asked).await?;
        match text.is_empty() {
            true => Err(AdminError::NotFound(format!("version {} of {name} is its deletion", version.version))),
            false => self.spec(text, yaml),
        }
    }

    pub(super) async fn kept(&self, name: &str, asked: &str) -> Result<(Version, Bytes), AdminError> {
        let number =
            asked.parse().map_err(|_| AdminError::Query("version must be a number, as the versions list it"))?;
        let found = self.store.version(name, number).await.map_err(AdminError::Store)?;
        found.ok_or_else(|| AdminError::NotFound(format!("version {number} of {name} is not kept")))
    }
}
