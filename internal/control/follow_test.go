package control

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// outbox is a store of events in memory, which counts how often it is asked.
type outbox struct {
	store.Store
	mu     sync.Mutex
	events []store.StoredEvent
	views  int
}

func (o *outbox) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	o.mu.Lock()
	o.views++
	o.mu.Unlock()
	return fn(ctx, outboxView{outbox: o})
}

// outboxView is what a View sees of it.
type outboxView struct {
	store.Reader
	outbox *outbox
}

func (v outboxView) LastEvent(ctx context.Context) (int64, error) { return v.outbox.LastEvent(ctx) }

func (v outboxView) Events(ctx context.Context, f store.EventFilter) ([]store.StoredEvent, error) {
	return v.outbox.Events(ctx, f)
}

func (v outboxView) EventsGone(context.Context, masking.TenantID) (int64, error) { return 0, nil }

func (o *outbox) LastEvent(context.Context) (int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(len(o.events)), nil
}

func (o *outbox) Events(_ context.Context, f store.EventFilter) (page []store.StoredEvent, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.events {
		if e.Cursor > f.After && (f.Tenant == "" || e.Tenant == f.Tenant) && len(page) < f.Limit {
			page = append(page, e)
		}
	}
	return page, nil
}

func (o *outbox) tell(tenants ...masking.TenantID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range tenants {
		n := int64(len(o.events) + 1)
		o.events = append(o.events, store.StoredEvent{Cursor: n, Event: masking.Event{ID: masking.EventID(fmt.Sprint(n)), Tenant: t}})
	}
}

// asked is how often the store was asked since it was last asked for that.
func (o *outbox) asked() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.views
	o.views = 0
	return n
}

func newFollowed() (*outbox, *Records) {
	o := &outbox{}
	c := &core{store: o, clock: time.Now, log: slog.New(slog.DiscardHandler)}
	return o, &Records{core: c, watch: newWatch(o, c.log, nil)}
}

// passes lets time pass in a bubble, and all that it brings about come to rest.
func passes(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestAHundredWhoFollowCostNoMoreThanOneWhileNothingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, records := newFollowed()
		got := make(chan string, 1000)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 100 {
			tenant := masking.TenantID(fmt.Sprint("t", i))
			f := records.Follow(tenant, 0)
			wg.Go(func() {
				defer f.Close()
				for {
					page, err := f.Next(ctx, time.Hour)
					if err != nil {
						return
					}
					for range page {
						got <- string(tenant)
					}
				}
			})
		}
		passes(time.Second)
		o.asked()
		passes(10 * time.Second)
		if n := o.asked(); n > 101 {
			t.Errorf("the store was asked %d times in 10 s, want 100: once for each look", n)
		}
		o.tell("t7")
		passes(followEvery)
		if n := o.asked(); len(got) != 1 || <-got != "t7" || n > 4 {
			t.Errorf("an event of one tenant cost %d questions", n)
		}
		many := make([]masking.TenantID, 2*mostNew)
		for i := range many {
			many[i] = masking.TenantID(fmt.Sprint("t", i%100))
		}
		o.tell(many...)
		passes(followEvery)
		if len(got) != len(many) {
			t.Errorf("%d of %d events came", len(got), len(many))
		}
		cancel()
		wg.Wait()
		o.asked()
		passes(10 * time.Second)
		if n := o.asked(); n != 0 {
			t.Errorf("nobody follows, and the store was asked %d times", n)
		}
	})
}

func TestAnEventWrittenWhileSomebodyBeginsToFollowIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 30 {
			o, records := newFollowed()
			f := records.Follow("acme", 0)
			go o.tell("acme")
			page, err := f.Next(t.Context(), time.Minute)
			if err != nil || len(page) != 1 {
				t.Fatalf("%d events, %v", len(page), err)
			}
			go o.tell("zeta", "acme")
			if page, err = f.Next(t.Context(), time.Minute); err != nil || len(page) != 1 || page[0].Cursor != 3 {
				t.Fatalf("%v, %v", page, err)
			}
			if page, err = f.Next(t.Context(), time.Second); err != nil || page != nil {
				t.Fatalf("%v, %v", page, err)
			}
			f.Close()
		}
	})
}
