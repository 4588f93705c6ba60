//! One line of the log for each change that is asked for, done or not. It names things and holds none of their content.

use super::{AdminRequest, AdminResponse, error::AdminError};
use crate::objects::Changed;

/// Target of these lines.
const TARGET: &str = "audit";
/// Longest name that is logged: a path may hold kilobytes.
const NAME_BYTES_MAX: usize = 256;

/// A request and who it is from.
pub(super) struct Call<'a> {
    pub(super) request: &'a AdminRequest,
    pub(super) who: String,
}

/// What a change is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) object: &'a str,
    pub(super) kind: &'a str,
}

impl Call<'_> {
    pub(super) fn dry(&self) -> bool {
        self.request.flag("dryRun")
    }

    /// A change of the configuration that has happened.
    pub(super) fn changed(&self, subject: Subject<'_>, changed: Changed) {
        let (who, peer, method) = (&self.who, &self.request.peer, &self.request.method);
        let (object, kind) = (short(subject.object), short(subject.kind));
        let (old_revision, new_revision) = (changed.before, changed.revision);
        let (old_version, new_version) = (changed.version - 1, changed.version);
        tracing::info!(
            target: TARGET, who, peer, method, object, kind, old_revision, new_revision, old_version, new_version,
            outcome = "done", "configuration changed"
        );
    }

    /// A change of something that has no version.
    pub(super) fn done(&self, subject: Subject<'_>, new_revision: i64) {
        let (who, peer, method) = (&self.who, &self.request.peer, &self.request.method);
        let (object, kind) = (short(subject.object), short(subject.kind));
        tracing::info!(
            target: TARGET, who, peer, method, object, kind, new_revision, outcome = "done", "data changed"
        );
    }

    /// Logs a change that was not made, and passes its answer on. The reason stays out: it may repeat what a spec says.
    pub(super) fn audited(
        &self,
        subject: Subject<'_>,
        answer: Result<AdminResponse, AdminError>,
    ) -> Result<AdminResponse, AdminError> {
        if let Err(error) = &answer
            && !self.dry()
        {
            let (who, peer, method) = (&self.who, &self.request.peer, &self.request.method);
            let (object, kind, status) = (short(subject.object), short(subject.kind), error.status());
            tracing::info!(
                target: TARGET, who, peer, method, object, kind, status, outcome = "refused", "change refused"
            );
        }
        answer
    }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_BYTES_MAX)]
}
