//! Draws an endpoint at random, by weight. What `random` and `least_requests` have in common.

use super::{Load, Rng};

/// Draws that may hit an endpoint which cannot be used, before all are looked at.
const TRIES: usize = 4;

/// The weights of a list of endpoints, summed up.
#[derive(Debug, Default)]
pub(super) struct Weighted {
    /// For each endpoint the weights up to and with its own, so that a draw is a binary search.
    sums: Vec<u64>,
}

impl Weighted {
    pub(super) fn rebuild(&mut self, endpoints: &[Load]) {
        self.sums.clear();
        self.sums.extend(endpoints.iter().scan(0, |sum, endpoint| {
            *sum += u64::from(endpoint.weight);
            Some(*sum)
        }));
    }

    /// Draws one that is usable and not `but`.
    ///
    /// A draw that misses is thrown away, which leaves the shares of the others as they are. When
    /// that takes too long the rest are summed up anew, which costs a look at each.
    pub(super) fn draw(
        &self,
        endpoints: &[Load],
        but: Option<usize>,
        rng: &mut Rng,
    ) -> Option<usize> {
        let total = *self.sums.last()?;
        let fits =
            |place: usize| but != Some(place) && endpoints.get(place).is_some_and(Load::is_open);
        for _ in 0..TRIES {
            let ticket = rng.below(total);
            let place = self.sums.partition_point(|&sum| sum <= ticket);
            if fits(place) {
                return Some(place);
            }
        }
        let open = || endpoints.iter().enumerate().filter(|(place, _)| fits(*place));
        let total: u64 = open().map(|(_, endpoint)| u64::from(endpoint.weight)).sum();
        let mut ticket = rng.below(total);
        for (place, endpoint) in open() {
            match ticket.checked_sub(u64::from(endpoint.weight)) {
                Some(left) => ticket = left,
                None => return Some(place),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_shares, count, endpoints};
    use super::*;

    #[test]
    fn shares_of_the_usable_do_not_depend_on_the_others() {
        let mut endpoints = endpoints(&[1, 1_000, 2, 1_000, 3]);
        let mut weighted = Weighted::default();
        weighted.rebuild(&endpoints);
        endpoints[1].usable = false;
        let mut rng = Rng::new(5);
        let counts = count(20_000, &endpoints, |_| weighted.draw(&endpoints, Some(3), &mut rng));
        check_shares(&counts, &[1, 0, 2, 0, 3]);
    }
}
