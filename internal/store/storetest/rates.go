package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/store"
)

func rateTests() []test {
	return []test{
		{"AsManyAreTakenAsARateLetsThrough", rateTaken},
		{"OfARateThatIsTakenFromAtOnceNoMoreIsTakenThanItsBurst", rateRace},
		{"RatesThatAreFullAreForgotten", ratesForgotten},
	}
}

func rateTaken(b *bench) {
	r := store.Rate{Interval: 500 * time.Millisecond, Burst: 4}
	for _, step := range []struct {
		key      string
		after    time.Duration // since the start
		n, taken int
		full     time.Duration
		interval time.Duration
	}{
		{"a", 0, 3, 3, 1500 * time.Millisecond, 0},
		{"a", 0, 3, 1, 2 * time.Second, 0},
		{"b", 0, 1, 1, 500 * time.Millisecond, 0},
		{"a", 0, 1, 0, 2 * time.Second, 0},
		{"a", 499 * time.Millisecond, 4, 0, 2 * time.Second, 0},
		{"a", 500 * time.Millisecond, 4, 1, 2500 * time.Millisecond, 0},
		{"a", time.Hour, 2, 2, time.Hour + time.Second, 0},
		{"a", -time.Hour, 2, 0, time.Hour + time.Second, 0}, // a clock that was set back
		{"c", 0, 4, 4, 4 * time.Microsecond, time.Microsecond},
		{"c", time.Microsecond, 4, 1, 5 * time.Microsecond, time.Microsecond},
	} {
		rate := r
		if step.interval > 0 {
			rate.Interval = step.interval
		}
		b.update(func(ctx context.Context, tx store.Tx) error {
			taken, full, err := tx.TakeRate(ctx, step.key, rate, step.n, Start().Add(step.after))
			if err == nil && (taken != step.taken || !full.Equal(Start().Add(step.full))) {
				err = fmt.Errorf("%s after %v: %d of %d taken, full after %v", step.key, step.after, taken, step.n, full.Sub(Start()))
			}
			return err
		})
	}
}

func rateRace(b *bench) {
	r := store.Rate{Interval: time.Hour, Burst: 50}
	var all atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				var taken int
				err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) (err error) {
					taken, _, err = tx.TakeRate(ctx, "a", r, 3, Start())
					return err
				})
				if err != nil {
					b.Error(err)
				}
				all.Add(int64(taken))
			}
		})
	}
	wg.Wait()
	equal(b, all.Load(), int64(r.Burst))
}

func ratesForgotten(b *bench) {
	take := func(key string) (taken int) {
		b.update(func(ctx context.Context, tx store.Tx) (err error) {
			taken, _, err = tx.TakeRate(ctx, key, store.Rate{Interval: time.Second, Burst: 2}, 2, Start())
			return err
		})
		return taken
	}
	for _, key := range []string{"a", "b", "c"} {
		equal(b, take(key), 2)
	}
	forget := func(at time.Duration, want int) {
		b.Helper()
		b.update(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.ForgetRates(ctx, Start().Add(at), 2)
			if err == nil && n != want {
				err = fmt.Errorf("forgot %d, want %d", n, want)
			}
			return err
		})
	}
	forget(2*time.Second, 0)
	equal(b, take("a"), 0)
	forget(3*time.Second, 2)
	forget(3*time.Second, 1)
	forget(3*time.Second, 0)
	equal(b, take("a"), 2)
}
