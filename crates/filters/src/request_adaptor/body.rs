//! Bodies of requests in another coding.

use tidegate_base::{Budget, Holder};
use tidegate_http::{
    h1::Exchange,
    message::{Body, BodyError, Known, Pieces},
};

use crate::gzip::{Coded, is_gzip, whole};

/// Packs the body, unless it has a coding.
///
/// # Errors
/// It cannot be read, or there is no room.
pub(super) async fn compress(exchange: &mut Exchange, budget: &Budget) -> Result<(), BodyError> {
    let coded = exchange.head().headers.get(Known::ContentEncoding).is_some();
    if coded || exchange.body().await?.is_empty() {
        return Ok(());
    }
    change(exchange, budget, Coded::pack).await?;
    exchange.head_mut().headers.set_known(Known::ContentEncoding, b"gzip");
    Ok(())
}

/// Unpacks the body where its coding is gzip. It must then keep to the limit of bodies, too.
///
/// # Errors
/// It cannot be read or unpacked, it is too large, or there is no room.
pub(super) async fn decompress(exchange: &mut Exchange, budget: &Budget) -> Result<(), BodyError> {
    if !is_gzip(&exchange.head().headers) {
        return Ok(());
    }
    change(exchange, budget, Coded::unpack).await?;
    exchange.head_mut().headers.remove_known(Known::ContentEncoding);
    Ok(())
}

async fn change(
    exchange: &mut Exchange,
    budget: &Budget,
    code: impl FnOnce(Pieces, &Budget) -> Result<Coded, BodyError>,
) -> Result<(), BodyError> {
    let body = exchange.body().await?;
    let pieces = Body::Full(body).into_pieces(budget, Holder::Gateway);
    let pieces = pieces.map_err(|_| BodyError::NoMemory)?;
    let coded = code(pieces, budget)?;
    let most = exchange.body_limit().unwrap_or(u64::MAX);
    let (bytes, lease) = whole(coded, most, budget).await?;
    // The exchange takes a lease of its own.
    drop(lease);
    exchange.set_body(bytes).await
}
