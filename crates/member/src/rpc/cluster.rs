//! MemberList.

use std::rc::Rc;

use bytes::Bytes;
use tidegate_api::{
    Error,
    pb::etcdserverpb::{MemberListRequest, MemberListResponse},
};
use tidegate_engine::Engine;

use super::{decode, encode, lease::response_header, read_error};
use crate::local::Local;

pub(super) async fn member_list<E: Engine>(local: &Rc<Local<E>>, bytes: Bytes) -> Result<Bytes, Error> {
    let request: MemberListRequest = decode(bytes)?;
    if request.linearizable {
        local.read_barrier().await?;
    }
    let reader = local.shared.reader.clone();
    let members = local.work(move || reader.members()).await?.map_err(read_error)?;
    // Answers of this service carry no revision.
    Ok(encode(&MemberListResponse { header: Some(response_header(local, 0)), members }))
}
