//! Several requests and responses of one context, by name.

use tidegate_http::message::Response;

/// Name of the namespace that the client's request comes in and its answer leaves from.
pub const DEFAULT: &str = "DEFAULT";

/// Which namespace has what. As many as the flows name, so a spec bounds them.
pub(crate) struct Namespaces {
    all: Vec<Namespace>,
    /// Responses of namespaces that are not active, but for that of the active one, which is with its filter.
    parked: Vec<Option<Response>>,
    active: usize,
}

struct Namespace {
    name: Box<str>,
    /// Place of its response. Two that share one have the same place.
    response: usize,
    /// The client's, which is the only request there is.
    has_request: bool,
}

impl Default for Namespaces {
    fn default() -> Self {
        let default = Namespace { name: DEFAULT.into(), response: 0, has_request: true };
        Self { all: vec![default], parked: vec![None], active: 0 }
    }
}

impl Namespaces {
    pub(crate) fn active(&self) -> &str {
        &self.all[self.active].name
    }

    pub(crate) fn has_request(&self) -> bool {
        self.all[self.active].has_request
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|namespace| *namespace.name == *name)
    }

    pub(crate) fn enter(&mut self, name: &str, response: &mut Option<Response>) {
        let next = self.find(name).unwrap_or_else(|| {
            self.all.push(Namespace { name: name.into(), response: self.parked.len(), has_request: false });
            self.parked.push(None);
            self.all.len() - 1
        });
        let (from, to) = (self.all[self.active].response, self.all[next].response);
        if from != to {
            self.parked[from] = response.take();
            *response = self.parked[to].take();
        }
        self.active = next;
    }

    pub(crate) fn share_request(&mut self, source: &str) -> bool {
        let has = self.find(source).is_some_and(|source| self.all[source].has_request);
        self.all[self.active].has_request |= has;
        has
    }

    pub(crate) fn share_response(&mut self, source: &str, response: &mut Option<Response>) -> bool {
        let Some(source) = self.find(source).map(|source| self.all[source].response) else { return false };
        let own = self.all[self.active].response;
        if source == own {
            return response.is_some();
        }
        if self.parked[source].is_none() {
            return false;
        }
        let shared = self.all.iter().filter(|namespace| namespace.response == own).count() > 1;
        if shared {
            self.parked[own] = response.take();
        }
        *response = self.parked[source].take();
        self.all[self.active].response = source;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(response: &Option<Response>) -> u16 {
        response.as_ref().map_or(0, |response| response.status)
    }

    #[test]
    fn each_namespace_has_its_own_response_until_it_shares_one() {
        let (mut spaces, mut response) = (Namespaces::default(), Some(Response::new(200)));
        spaces.enter("a", &mut response);
        assert_eq!((status(&response), spaces.active(), spaces.has_request()), (0, "a", false));
        response = Some(Response::new(201));
        spaces.enter("b", &mut response);
        response = Some(Response::new(202));
        spaces.enter(DEFAULT, &mut response);
        assert_eq!((status(&response), spaces.has_request()), (200, true));
        assert!(spaces.share_response("a", &mut response), "what was there is replaced");
        assert_eq!(status(&response), 201);
        response = Some(Response::new(404));
        spaces.enter("a", &mut response);
        assert_eq!(status(&response), 404, "shared, not copied");
        spaces.enter("b", &mut response);
        assert_eq!(status(&response), 202);
        assert!(spaces.share_response("a", &mut response));
        assert_eq!(status(&response), 404);
        assert!(spaces.share_response("b", &mut response), "its own");
        assert!(!spaces.share_response("c", &mut response), "there is none");
        spaces.enter("c", &mut response);
        assert!(!spaces.share_response("d", &mut response));
    }

    #[test]
    fn who_leaves_a_shared_response_does_not_take_it_along() {
        let (mut spaces, mut response) = (Namespaces::default(), Some(Response::new(200)));
        spaces.enter("a", &mut response);
        assert!(spaces.share_response(DEFAULT, &mut response));
        spaces.enter("b", &mut response);
        response = Some(Response::new(202));
        spaces.enter("a", &mut response);
        assert!(spaces.share_response("b", &mut response));
        assert_eq!(status(&response), 202);
        spaces.enter(DEFAULT, &mut response);
        assert_eq!(status(&response), 200);
    }

    #[test]
    fn a_namespace_has_a_request_when_it_was_given_one() {
        let (mut spaces, mut response) = (Namespaces::default(), None);
        spaces.enter("a", &mut response);
        assert!(!spaces.share_request("b"));
        assert!(spaces.share_request(DEFAULT) && spaces.has_request());
        spaces.enter("b", &mut response);
        assert!(!spaces.has_request() && spaces.share_request("a") && spaces.has_request());
    }
}
