//! One certificate, from the order to its chain.

use std::{future::Future, time::Duration};

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error as AcmeError, Identifier, KeyAuthorization, NewOrder,
    OrderStatus, RetryPolicy,
};
use tidegate_base::clock;
use tidegate_http::tls::{Client, ClientSettings, PemError, Roots, TlsError};
use tokio::time::timeout_at;

use super::{
    Book, CHALLENGE_PATH, Settings, account,
    call::caller,
    challenge,
    rows::{self, Certificate, Row, RowError},
    store::Rows,
};

/// Longest wait for what the authority does: to ask back, and to make the certificate.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(Duration::from_secs(90));
/// Longest wait for the store to tell of what was written to it.
const ECHO_MAX: Duration = Duration::from_secs(30);
/// Longest token: rather more than authorities have.
const TOKEN_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("{0}")]
    Acme(#[from] AcmeError),
    #[error("the store did not answer: {0}")]
    Store(#[from] tidegate_api::Error),
    #[error("the store did not tell of what was written to it")]
    NoEcho,
    #[error("whom to trust: it {0}")]
    Roots(#[from] PemError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("the authority offers no challenge that is enabled and built")]
    NoChallenge,
    #[error("the authority wants a proof for other names")]
    OtherName,
    #[error("the authority's token is none")]
    Token,
    #[error("the authority has refused: the order is {0:?}")]
    Refused(OrderStatus),
    #[error("an authorization is {0:?}")]
    Authorization(AuthorizationStatus),
    #[error("a key: {0}")]
    Key(#[from] rcgen::Error),
    #[error("the certificate that came: {0}")]
    Certificate(#[from] RowError),
    #[error("the certificate that came has expired")]
    Expired,
    #[error("no memory is free for an order")]
    NoMemory,
    #[error("it took too long")]
    Timeout,
    #[error("it panicked")]
    Panicked,
}

/// What an order is made with.
pub(super) struct Desk<'a> {
    pub(super) settings: &'a Settings,
    pub(super) book: &'a Book,
    pub(super) rows: Rows,
}

impl Desk<'_> {
    /// Gets a certificate for `domain` and puts it into the store, and waits until it has come back from there. Where more than
    /// one kind of challenge is enabled they take turns, by the number of orders that have failed. What challenges leave in the
    /// store is removed, if not now then by the next order. Cancel safe.
    pub(super) async fn order(&self, domain: &str, failed: u32) -> Result<(), OrderError> {
        let tls = Client::new(ClientSettings { roots: Some(Roots::of_system()?), identity: None, sessions: 1 })?;
        let secure = self.settings.directory.to_ascii_lowercase().starts_with("https://");
        let (caller, calls) = caller(tls, secure);
        let work = async {
            self.rows.clear(domain).await?;
            let account = account::open(self.settings, &self.rows, caller).await?;
            let done = self.with(&account, domain, failed).await;
            self.rows.clear(domain).await?;
            done
        };
        let done = tokio::select! {
            done = work => done,
            Some(never) = async { calls.await; None } => never,
        };
        if let Err(error) = &done {
            account::forget(self.settings, &self.rows, error).await?;
        }
        done
    }

    async fn with(&self, account: &Account, domain: &str, failed: u32) -> Result<(), OrderError> {
        let identifiers = [Identifier::Dns(domain.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if !matches!(authorization.identifier().identifier, Identifier::Dns(name) if name.eq_ignore_ascii_case(domain))
            {
                return Err(OrderError::OtherName);
            }
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(OrderError::Authorization(other)),
            }
            let offered: Vec<ChallengeType> = authorization.challenges.iter().map(|one| one.r#type.clone()).collect();
            let kind = self.choose(&offered, failed).ok_or(OrderError::NoChallenge)?;
            let mut challenge = authorization.challenge(kind.clone()).ok_or(OrderError::NoChallenge)?;
            self.show(domain, kind, &challenge.token, &challenge.key_authorization()).await?;
            challenge.set_ready().await?;
        }
        match order.poll_ready(&PATIENCE).await? {
            OrderStatus::Ready => {}
            other => return Err(OrderError::Refused(other)),
        }
        let (key, request) = challenge::request(domain)?;
        order.finalize_csr(&request).await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        let text = rows::text(&key, &chain);
        let certificate = Certificate::read(domain, text.as_bytes())?;
        if certificate.life.until <= clock::wall() {
            return Err(OrderError::Expired);
        }
        self.rows.put(Row::Cert(domain), text).await?;
        self.echoed(|| self.book.certificate(domain).is_some_and(|known| known == certificate.identity)).await
    }

    /// The kind for this try.
    fn choose(&self, offered: &[ChallengeType], failed: u32) -> Option<ChallengeType> {
        let kinds =
            [(ChallengeType::Http01, self.settings.http01), (ChallengeType::TlsAlpn01, self.settings.tls_alpn01)];
        let good = kinds.into_iter().filter(|(kind, enabled)| *enabled && offered.contains(kind));
        let mut good: Vec<ChallengeType> = good.map(|(kind, _)| kind).collect();
        let turn = (failed as usize).checked_rem(good.len())?;
        Some(good.swap_remove(turn))
    }

    /// Puts what the authority will ask for into the store, and waits until this member shows it.
    async fn show(
        &self,
        domain: &str,
        kind: ChallengeType,
        token: &str,
        proof: &KeyAuthorization,
    ) -> Result<(), OrderError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(good) {
            return Err(OrderError::Token);
        }
        if kind == ChallengeType::TlsAlpn01 {
            let digest = proof.digest();
            let digest = digest.as_ref().try_into().map_err(|_| OrderError::Token)?;
            let text = challenge::certificate(domain, digest)?;
            let shown = rows::challenge(domain, text.as_bytes())?;
            self.rows.put(Row::Challenge(domain), text).await?;
            return self.echoed(|| self.book.challenge(domain).is_some_and(|known| known == shown.identity)).await;
        }
        let path = format!("{CHALLENGE_PATH}{token}");
        self.rows.put(Row::Token { domain, path: &path }, proof.as_str().to_owned()).await?;
        self.echoed(|| self.book.token(domain, &path).is_some_and(|known| known == proof.as_str())).await
    }

    async fn echoed(&self, known: impl Fn() -> bool) -> Result<(), OrderError> {
        let mut changes = self.book.changes();
        let wait = async {
            while !known() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        within(ECHO_MAX, wait).await.ok_or(OrderError::NoEcho)
    }
}

/// `None` when it takes longer.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout_at((clock::now() + limit).into(), work).await.ok()
}
