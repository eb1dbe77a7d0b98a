package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

const (
	followEvery = 100 * time.Millisecond // the place of the last event is read
	followPage  = 100
	mostNew     = 500 // events between two looks; with more, everybody looks for himself
)

// watch finds out whose events are new, for all who follow any: one reading of one
// number at a time, whoever many they are and whichever node wrote the event. It
// reads only while somebody follows.
type watch struct {
	store store.Store
	log   *slog.Logger
	wake  <-chan struct{} // there may be new events; nil: nobody says so

	mu        sync.Mutex
	followers int
	news      map[masking.TenantID]chan struct{} // closed when there may be something new
	stop      context.CancelFunc
	done      chan struct{} // closed when the one that stop ends has ended
}

func newWatch(s store.Store, log *slog.Logger, wake <-chan struct{}) *watch {
	return &watch{store: s, log: log, wake: wake, news: map[masking.TenantID]chan struct{}{}}
}

// join makes somebody a follower until he leaves.
func (w *watch) join() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.followers++; w.followers > 1 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.stop, w.done = cancel, done
	go func() {
		defer close(done)
		w.run(ctx)
	}()
}

// leave ends the reading with the last follower, and waits for that.
func (w *watch) leave() {
	w.mu.Lock()
	w.followers--
	last, done := w.followers == 0, w.done
	if last {
		w.stop()
		clear(w.news)
	}
	w.mu.Unlock()
	if last {
		<-done
	}
}

// changed is closed when the tenant may have events that were not there before.
func (w *watch) changed(t masking.TenantID) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.news[t]
	if c == nil {
		c = make(chan struct{})
		w.news[t] = c
	}
	return c
}

// tell wakes the followers of a tenant; of all with "".
func (w *watch) tell(t masking.TenantID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for of, c := range w.news {
		if t == "" || of == t {
			close(c)
			delete(w.news, of)
		}
	}
}

func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	// What was written before the first look may be news to who has looked before it.
	last, known := int64(0), false
	for {
		if now, err := w.look(ctx, last, known); err != nil {
			w.log.Debug("the last event cannot be read", "error", err)
		} else {
			last, known = now, true
		}
		select {
		case <-tick.C:
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}

// look tells those whose events are behind last, and gives the place of the last
// event now.
func (w *watch) look(ctx context.Context, last int64, known bool) (now int64, err error) {
	var news []store.StoredEvent
	err = w.store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		if now, err = tx.LastEvent(ctx); err != nil || !known || now <= last {
			return err
		}
		news, err = tx.Events(ctx, store.EventFilter{AllTenants: true, After: last, Limit: mostNew})
		return err
	})
	switch {
	case err != nil:
		return last, err
	case !known, len(news) == mostNew:
		w.tell("")
		return now, nil
	}
	for _, e := range news {
		w.tell(e.Tenant)
	}
	return now, nil
}

// A Follower reads a tenant's events as they are written. One goroutine owns it,
// and closes it.
type Follower struct {
	records *Records
	tenant  masking.TenantID
	after   int64
}

// Follow reads a tenant's events from the one behind after on.
func (s *Records) Follow(t masking.TenantID, after int64) *Follower {
	s.watch.join()
	return &Follower{s, t, after}
}

// Last is the place of the last event there is or was; whoever follows from there
// gets what comes now of the tenant's.
func (s *Records) Last(ctx context.Context, t masking.TenantID) (last int64, err error) {
	err = s.view(ctx, "find the last event", func(ctx context.Context, tx store.Reader) error {
		if last, err = tx.LastEvent(ctx); err != nil {
			return err
		}
		gone, err := tx.EventsGone(ctx, t)
		last = max(last, gone)
		return err
	})
	return last, err
}

// Reachable refuses with Gone if events of the tenant behind a place have been removed.
func (s *Records) Reachable(ctx context.Context, t masking.TenantID, after int64) error {
	return s.view(ctx, "find a place among events", func(ctx context.Context, tx store.Reader) error { return checkPlace(ctx, tx, t, after) })
}

// Next waits until there are events and gives them, oldest first, at most a page;
// none if none has come for as long as it may wait. An error is that of ctx, or says
// that the store cannot answer, or that events were removed before they were read.
func (f *Follower) Next(ctx context.Context, wait time.Duration) ([]StoredEvent, error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		changed := f.records.watch.changed(f.tenant)
		page, _, err := f.records.Events(ctx, f.tenant, EventQuery{After: f.after, Limit: followPage})
		if err != nil {
			return nil, err
		}
		if len(page) > 0 {
			f.after = page[len(page)-1].Cursor
			return page, nil
		}
		select {
		case <-changed:
		case <-over.C:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close ends the following.
func (f *Follower) Close() { f.records.watch.leave() }
