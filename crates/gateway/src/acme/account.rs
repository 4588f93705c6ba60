//! The account with an authority, kept in the store: authorities count accounts and do not like new ones.

use instant_acme::{Account, AccountCredentials, Error as AcmeError, NewAccount};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Settings, call::Caller, order::OrderError, rows::Row, store::Rows};

/// Longest row of an account that is read.
const ACCOUNT_BYTES_MAX: usize = 16 << 10;
/// What an authority says of an account that it does not have. Source: RFC 8555, 6.7.
const GONE: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// The row.
#[derive(Serialize, Deserialize)]
struct Kept {
    email: String,
    credentials: AccountCredentials,
}

/// The account that is kept, brought up to the email of the settings, or a new one. What is kept and cannot be used is
/// replaced.
pub(super) async fn open(settings: &Settings, rows: &Rows, caller: Box<Caller>) -> Result<Account, OrderError> {
    let row = Row::Account(&settings.directory);
    let contact = format!("mailto:{}", settings.email);
    let Some(Kept { email, credentials }) = rows.get(row).await?.and_then(|text| read(&text, &settings.directory))
    else {
        let new = NewAccount { contact: &[&contact], terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) =
            Account::builder_with_http(caller).create(&new, settings.directory.clone(), None).await?;
        keep(rows, row, &settings.email, credentials).await?;
        tracing::info!(directory = settings.directory, "an account with an authority was made");
        return Ok(account);
    };
    let again = again(&credentials);
    let account = Account::builder_with_http(caller).from_credentials(credentials).await?;
    if email != settings.email {
        account.update_contacts(&[&contact]).await?;
        if let Some(credentials) = again {
            keep(rows, row, &settings.email, credentials).await?;
        }
    }
    Ok(account)
}

/// Forgets an account that the authority does not have any more, so that the next order makes a new one.
pub(super) async fn forget(settings: &Settings, rows: &Rows, error: &OrderError) -> Result<(), OrderError> {
    match error {
        OrderError::Acme(AcmeError::Api(problem)) if problem.r#type.as_deref() == Some(GONE) => {
            Ok(rows.remove(Row::Account(&settings.directory)).await?)
        }
        _ => Ok(()),
    }
}

async fn keep(rows: &Rows, row: Row<'_>, email: &str, credentials: AccountCredentials) -> Result<(), OrderError> {
    let kept = Kept { email: email.to_owned(), credentials };
    let text = serde_json::to_string(&kept).map_err(AcmeError::Json)?;
    Ok(rows.put(row, text).await?)
}

fn read(text: &[u8], directory: &str) -> Option<Kept> {
    let read = || {
        let text = text.get(..ACCOUNT_BYTES_MAX.min(text.len()))?;
        let value: Value = serde_json::from_slice(text).ok()?;
        // The library would panic at a URL that is none: it gets the one of the settings only.
        (value["credentials"]["directory"] == directory).then(|| serde_json::from_value(value).ok()).flatten()
    };
    let kept = read();
    if kept.is_none() {
        tracing::warn!(directory, "the account that is kept cannot be read: a new one is made");
    }
    kept
}

/// They are no `Clone`.
fn again(credentials: &AccountCredentials) -> Option<AccountCredentials> {
    serde_json::from_value(serde_json::to_value(credentials).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_that_is_no_account_of_its_directory_is_none() {
        // A key of P-256 in PKCS #8.
        let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJVWC_QzOTCS5vtsJp2IG-UDc8cdDfeoKtxSZxaznM-mhRANCAAQenCPoGgPFTdPJ7VLLKt56RxPlYT1wNXnHc54PEyBg3LxKaH0-sJkX0mL8LyPEdsfL_Oz4TxHkWLJGrXVtNhfH";
        let row = |directory: &str, key: &str| {
            json!({"email": "a@b", "credentials": {"id": "https://a/1", "key_pkcs8": key, "directory": directory}})
                .to_string()
        };
        let good = row("https://a/dir", key);
        let kept = read(good.as_bytes(), "https://a/dir").unwrap();
        assert_eq!(kept.email, "a@b");
        let written = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), serde_json::from_str::<Value>(&good).unwrap());
        for wrong in
            [row("https://b/dir", key), row("not a url", key), row("https://a/dir", "!"), "{}".into(), "\0".into()]
        {
            assert!(read(wrong.as_bytes(), "https://a/dir").is_none(), "{wrong}");
        }
        for at in 0..good.len() {
            assert!(read(&good.as_bytes()[..at], "https://a/dir").is_none());
        }
    }
}
