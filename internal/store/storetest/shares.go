package storetest

import (
	"context"
	"sync"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func shareTests() []test {
	return []test{
		{"ANodeReadsWhatItHoldsAndWhatOthersDo", sharesRead},
		{"ANodeThatStartsOrIsGoneHoldsNothing", sharesDropped},
		{"ANodeThatAnotherOneHearsHoldsWhatItHeld", sharesOfHeard},
		{"OfABoundThatNodesTakeAtOnceNoMoreIsHeldThanThereIs", sharesRace},
	}
}

// hold gives a node what decide makes of what others hold.
func (b *bench) hold(bound, node string, decide func(others int) int) (held int) {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) error {
		others, err := tx.LockBound(ctx, bound, node)
		if err != nil {
			return err
		}
		held = decide(others)
		return tx.SetShare(ctx, bound, node, held)
	})
	return held
}

func (b *bench) shares(node string, want map[string]store.Share) {
	b.Helper()
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (map[string]store.Share, error) {
		return tx.Shares(ctx, node)
	}), want)
}

func sharesRead(b *bench) {
	b.shares("a", map[string]store.Share{})
	put := func(bound, node string, held, others int) {
		b.Helper()
		b.hold(bound, node, func(n int) int {
			if n != others {
				b.Errorf("others hold %d of %s, want %d", n, bound, others)
			}
			return held
		})
	}
	put("calls", "a", 3, 0)
	put("calls", "b", 4, 3)
	put("calls", "a", 5, 4)
	put("starts", "a", 1, 0)
	b.shares("a", map[string]store.Share{"calls": {Held: 5, Others: 4}, "starts": {Held: 1}})
	b.shares("b", map[string]store.Share{"calls": {Held: 4, Others: 5}})
	put("calls", "a", 0, 4)
	b.shares("a", map[string]store.Share{"starts": {Held: 1}})
	put("calls", "b", 0, 0)
	put("calls", "c", 2, 0)
	b.shares("c", map[string]store.Share{"calls": {Held: 2}})
}

func sharesDropped(b *bench) {
	a, c := node("a"), node("c")
	one := func(int) int { return 1 }
	b.hold("calls", "a", one) // left by an earlier run
	b.join(true, a, masking.Node{})
	b.shares("a", map[string]store.Share{})
	b.join(true, c, masking.Node{})
	b.hold("calls", "a", one)
	b.hold("calls", "c", one)
	b.hold("starts", "a", one)
	b.lose(true, a, Start().Add(time.Minute))
	b.shares("a", map[string]store.Share{})
	b.shares("c", map[string]store.Share{"calls": {Held: 1}})
	b.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.ForgetNodes(ctx, Start(), 10)
		return err
	})
	b.shares("c", map[string]store.Share{"calls": {Held: 1}})
}

func sharesOfHeard(b *bench) {
	a := node("a")
	b.join(true, a, masking.Node{})
	b.hold("calls", "a", func(int) int { return 3 })
	b.whether(true, func(ctx context.Context, tx store.Tx) (bool, error) {
		return tx.HearNode(ctx, a, a.SeenAt.Add(masking.Lease))
	})
	b.lose(false, a, a.SeenAt.Add(masking.Lease)) // by one who has not looked since
	b.shares("a", map[string]store.Share{"calls": {Held: 3}})
}

func sharesRace(b *bench) {
	const bound, most = "calls", 10
	var wg sync.WaitGroup
	for _, node := range []string{"a", "b", "c"} {
		wg.Go(func() {
			for i := range 20 { // each takes one, and at times gives all back
				err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
					others, err := tx.LockBound(ctx, bound, node)
					if err != nil {
						return err
					}
					if others > most {
						b.Errorf("others hold %d", others)
					}
					return tx.SetShare(ctx, bound, node, min(i%7, most-others))
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
