//! The states that a search has met, each once and numbered.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

/// Stands for a state: equal numbers, equal states.
pub(super) type StateId = u32;

/// Numbers states as they come. The map is only asked, never walked, so that its order has no
/// say in what a search does.
pub(super) struct States<S> {
    ids: HashMap<Rc<S>, StateId>,
    states: Vec<Rc<S>>,
}

impl<S: Eq + Hash> States<S> {
    pub(super) fn new() -> Self {
        States {
            ids: HashMap::new(),
            states: Vec::new(),
        }
    }

    pub(super) fn id(&mut self, state: S) -> StateId {
        if let Some(id) = self.ids.get(&state) {
            return *id;
        }
        let id = self.states.len() as StateId;
        let state = Rc::new(state);
        self.states.push(Rc::clone(&state));
        self.ids.insert(state, id);
        id
    }

    pub(super) fn get(&self, id: StateId) -> &Rc<S> {
        &self.states[id as usize]
    }
}
