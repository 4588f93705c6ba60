use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::Call;

/// What answers calls. One instance for each I/O thread, which owns it: it needs no lock for what its calls share.
pub trait Service: 'static {
    /// Answers one call. See the module's head for when this future is dropped.
    ///
    /// A call that is still open when it ends is answered `Internal`, or reset in the middle of an answer.
    fn call(self: Rc<Self>, call: Call) -> LocalBoxFuture<'static, ()>;
}
