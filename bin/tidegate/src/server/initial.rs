//! Objects that are created at the start, where they do not exist.

use std::{fs, io, sync::Arc};

use bytes::Bytes;
use tidegate_gateway::admin::{Admin, AdminRequest, BODY_BYTES_MAX, Body};

/// A file of one object.
pub(super) struct Initial {
    file: String,
    text: Bytes,
}

/// Reads the files. What cannot be read is told and left out.
pub(super) fn read(files: &[String]) -> Vec<Initial> {
    let within = |file: &String| match fs::metadata(file)?.len() {
        len if len <= BODY_BYTES_MAX as u64 => fs::read(file),
        _ => Err(io::Error::other("the file is too large")),
    };
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        match within(file) {
            Ok(text) => all.push(Initial { file: file.clone(), text: text.into() }),
            Err(error) => tracing::error!(file, %error, "an initial object cannot be read"),
        }
    }
    all
}

/// Creates them. What exists stays as it is; what cannot be created is told and left out.
pub(super) async fn create(admin: Arc<Admin>, all: Vec<Initial>) {
    for Initial { file, text } in all {
        let request = AdminRequest {
            method: "POST".to_owned(),
            path: "/apis/v2/objects".to_owned(),
            content_type: "text/x-yaml".to_owned(),
            body: text,
            ..AdminRequest::default()
        };
        let answer = admin.handle_own(request, "initial-object-config-files").await;
        match (answer.status, answer.body) {
            (201, _) => tracing::info!(file, "an initial object is created"),
            (409, _) => tracing::info!(file, "an initial object exists"),
            (status, Body::Whole(chunk)) => {
                let why = String::from_utf8_lossy(&chunk.bytes).into_owned();
                tracing::error!(file, status, why, "an initial object cannot be created");
            }
            (status, Body::Chunks(_)) => tracing::error!(file, status, "an initial object cannot be created"),
        }
    }
}
