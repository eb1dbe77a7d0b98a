// Package sentry stands before an engine of the store that can go away, and knows
// whether it is there: while it is not, everybody is told so at once, and nobody waits
// for a connection. It looks again all the time, so that a database which comes back is
// used without anybody's doing.
package sentry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Options say how closely is looked. Store and Log are required.
type Options struct {
	Store store.Store
	Log   *slog.Logger
	Every time.Duration // between looks; default 500 ms
	Again time.Duration // between looks while it is away; default 100 ms
	// Within is how long an answer may take, that to a look and that to a call's one
	// read; default 1 s.
	Within time.Duration
}

// Sentry is a store. Its methods may be called by any goroutine.
type Sentry struct {
	o     Options
	away  atomic.Bool
	nudge chan struct{} // look now
	stop  context.CancelFunc
	done  chan struct{}
	close sync.Once
}

var _ store.Store = (*Sentry)(nil)

// New begins to look. Close ends it, and closes the engine.
func New(o Options) *Sentry {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Every, 500*time.Millisecond)
	set(&o.Again, 100*time.Millisecond)
	set(&o.Within, time.Second)
	ctx, stop := context.WithCancel(context.Background())
	s := &Sentry{o: o, nudge: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	go s.watch(ctx)
	return s
}

// Away reports whether the database is away.
func (s *Sentry) Away() bool { return s.away.Load() }

// watch looks whether the database answers until ctx is done. One that refuses is away at
// once, one that does not answer is asked twice: it may be busy for a moment.
func (s *Sentry) watch(ctx context.Context) {
	defer close(s.done)
	slow := 0
	var since time.Time
	for {
		every := s.o.Every
		if s.Away() || slow > 0 {
			every = s.o.Again
		}
		select {
		case <-time.After(every):
		case <-s.nudge:
		case <-ctx.Done():
			return
		}
		err := s.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if slow = 0; s.away.Swap(false) {
				s.o.Log.Info("the database is back", "away_seconds", time.Since(since).Seconds())
			}
		case errors.Is(err, context.DeadlineExceeded) && slow == 0 && !s.Away():
			slow++
		case !s.away.Swap(true):
			since = time.Now()
			s.o.Log.Error("the database is away: talks go on, new calls and requests are refused until it is back", "error", err.Error())
		}
	}
}

func (s *Sentry) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Within)
	defer cancel()
	return s.o.Store.Ready(ctx)
}

// judge has the database looked for at once after an error that may be its absence.
func (s *Sentry) judge(err error) error {
	if err != nil && masking.KindOf(err) == "" {
		select {
		case s.nudge <- struct{}{}:
		default:
		}
	}
	return err
}

// View refuses while the database is away.
func (s *Sentry) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	if s.Away() {
		return store.ErrAway
	}
	return s.judge(s.o.Store.View(ctx, fn))
}

// Update refuses while the database is away.
func (s *Sentry) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if s.Away() {
		return store.ErrAway
	}
	return s.judge(s.o.Store.Update(ctx, fn))
}

// Route refuses while the database is away, and gives it no more than Options.Within.
func (s *Sentry) Route(ctx context.Context, virtual, caller e164.Number) (masking.Route, error) {
	if s.Away() {
		return masking.Route{}, store.ErrAway
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Within)
	defer cancel()
	route, err := s.o.Store.Route(ctx, virtual, caller)
	return route, s.judge(err)
}

// Scrub refuses while the database is away.
func (s *Sentry) Scrub(ctx context.Context) error {
	if s.Away() {
		return store.ErrAway
	}
	return s.o.Store.Scrub(ctx)
}

// Ready tells of a database that is away at once, of another one within Options.Within.
func (s *Sentry) Ready(ctx context.Context) error {
	if s.Away() {
		return store.ErrAway
	}
	return s.judge(s.look(ctx))
}

// Close ends the looking and closes the engine.
func (s *Sentry) Close() error {
	s.close.Do(func() {
		s.stop()
		<-s.done
	})
	return s.o.Store.Close()
}
