//! Sorting of what a parser read.
//!
//! `sort_by_key` of the standard library is 4 KB of machine code for each type of element, 100 KB in a tracer; here all
//! types share one. Tables that come in order, as most do, are not even copied.

/// Sorts by a number, ascending. Elements of the same number stay in their order.
pub(crate) fn sort_by_number<T>(items: &mut [T], number: impl Fn(&T) -> u64) {
    if !items.is_sorted_by_key(&number) {
        items.sort_by_cached_key(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_keep_their_order() {
        let mut items = [(3, 'a'), (1, 'b'), (3, 'c'), (u64::MAX, 'd'), (1, 'e'), (0, 'f'), (3, 'g')];
        sort_by_number(&mut items, |item| item.0);
        assert_eq!(items.map(|item| item.1), ['f', 'b', 'e', 'a', 'c', 'g', 'd']);
    }
}
