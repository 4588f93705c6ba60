//! What goes wrong, with its status and its text.

use serde_json::json;
use tidegate_api::Error;
use tidegate_http::message::BodyError;

use super::{answer::AdminResponse, request::BODY_BYTES_MAX};
use crate::objects::{ChangeError, Problem, ReadError, Refusal};

#[derive(Debug)]
pub(super) enum AdminError {
    NoRoute,
    Method,
    /// What this process cannot do.
    Missing(String),
    Foreign,
    /// No credential, or a wrong one; what to ask for.
    Unauthorized(Vec<&'static str>),
    Panicked,
    NotFound(String),
    Conflict(String),
    BodyTooLarge(usize),
    /// The body did not come whole.
    Body(BodyError),
    Unreadable(ReadError),
    Invalid(Vec<Problem>),
    SystemKind(String),

    ConfigurationFull(tidegate_base::ByteSize),
    Query(&'static str),
    Change {
        name: String,
        error: ChangeError,
    },
    Store(Error),
    /// What the reference answers 500 for, though the client is to blame.
    Failed(String),
    /// What the reference answers 503 for, since it finds out in a transaction.
    Refused(String),
}

impl AdminError {
    pub(super) fn status(&self) -> u16 {
        self.row().0
    }

    pub(super) fn message(&self) -> String {
        self.row().1
    }

    /// Status and text: what clients and scripts see.
    fn row(&self) -> (u16, String) {
        match self {
            Self::NoRoute => (404, "404 page not found".to_owned()),
            Self::Method => (405, "this path does not take this method".to_owned()),
            Self::Missing(told) => (501, told.clone()),
            Self::Unauthorized(_) => (401, "the admin API needs a credential".to_owned()),
            Self::Panicked => (500, "answering this request failed: the log tells more".to_owned()),
            Self::NotFound(told) => (404, told.clone()),
            Self::Conflict(told) => (400, told.clone()),
            Self::Failed(told) => (500, told.clone()),
            Self::Refused(told) => (503, told.clone()),
            Self::Foreign => (403, "a page of another site must not use the admin API".to_owned()),
            Self::BodyTooLarge(limit) => (413, format!("the body is larger than {limit} bytes")),
            Self::Body(BodyError::TooLarge) => Self::BodyTooLarge(BODY_BYTES_MAX).row(),
            Self::Body(error) => (error.status(), error.to_string()),
            Self::Unreadable(error @ ReadError::Syntax(_)) => (400, format!("the body is no spec: {error}")),
            Self::Unreadable(error @ ReadError::TooLarge(..)) => (413, format!("the body is too large: {error}")),
            Self::Unreadable(ReadError::NoRoom) => (503, "the gateway has no memory free: try again later".to_owned()),
            Self::Invalid(problems) => (400, validation(problems)),
            Self::SystemKind(kind) => (409, format!("{kind} runs by itself and cannot be created")),
            Self::ConfigurationFull(limit) => (413, format!("all objects together may hold {limit}")),
            Self::Query(told) => (400, (*told).to_owned()),
            Self::Change { name, error } => match error {
                ChangeError::Refused(Refusal::Exists) => (409, format!("the object {name} exists already")),
                ChangeError::Refused(Refusal::NotFound) => (404, format!("the object {name} does not exist")),
                ChangeError::Refused(Refusal::Conflict(told)) => (400, told.clone()),
                ChangeError::Refused(Refusal::NoRoom) => Self::Unreadable(ReadError::NoRoom).row(),
                ChangeError::Contended => {
                    (503, "the configuration was changed by others each time: try again".to_owned())
                }
                ChangeError::Store(error) => {
                    (503, format!("the store did not answer, the change may have happened: {error}"))
                }
            },
            Self::Store(error) => (503, format!("the store did not answer: {error}")),
        }
    }

    /// Easegress sends errors as JSON and says no content type; for what is outside its API it answers plain text.
    pub(super) fn answer(&self) -> AdminResponse {
        let (status, message) = self.row();
        match self {
            Self::NoRoute => AdminResponse::new(status, Some(super::answer::TEXT), format!("{message}\n")),
            Self::Method => AdminResponse::empty(status),
            Self::Unauthorized(challenges) => challenges.iter().fold(
                AdminResponse::new(status, None, json!({"code": status, "message": message}).to_string()),
                |answer, challenge| answer.with("WWW-Authenticate", (*challenge).to_owned()),
            ),
            _ => AdminResponse::new(status, None, json!({"code": status, "message": message}).to_string()),
        }
    }
}

/// The text in which Easegress reports a spec: an object of lists.
fn validation(problems: &[Problem]) -> String {
    let texts = |general: bool| -> Vec<String> {
        let of_this = problems.iter().filter(|problem| problem.field.is_empty() == general);
        of_this.map(ToString::to_string).collect()
    };
    let lists = [("jsonschemaErrs", texts(false)), ("generalErrs", texts(true))];
    let lists: serde_json::Map<_, _> = lists
        .into_iter()
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(key, texts)| (key.to_owned(), texts.into()))
        .collect();
    serde_json::Value::Object(lists).to_string()
}
