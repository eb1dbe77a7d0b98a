package sentry

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// engine answers, refuses, or hangs.
type engine struct {
	mu     sync.Mutex
	err    error
	hangs  bool
	asked  int
	closed bool
}

func (e *engine) set(change func(*engine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

// times is how often it was asked.
func (e *engine) times() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked
}

func (e *engine) answer(ctx context.Context) error {
	e.mu.Lock()
	e.asked++
	err, hangs := e.err, e.hangs
	e.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (e *engine) View(ctx context.Context, _ func(context.Context, store.Reader) error) error {
	return e.answer(ctx)
}

func (e *engine) Update(ctx context.Context, _ func(context.Context, store.Tx) error) error {
	return e.answer(ctx)
}

func (e *engine) Route(ctx context.Context, _, _ e164.Number) (masking.Route, error) {
	return masking.Route{PINs: true}, e.answer(ctx)
}

func (e *engine) Scrub(ctx context.Context) error { return e.answer(ctx) }
func (e *engine) Ready(ctx context.Context) error { return e.answer(ctx) }

func (e *engine) Close() error {
	e.set(func(e *engine) { e.closed = true })
	return nil
}

// doors are the ways to a store.
var doors = map[string]func(context.Context, store.Store) error{
	"view":   func(ctx context.Context, s store.Store) error { return s.View(ctx, nil) },
	"update": func(ctx context.Context, s store.Store) error { return s.Update(ctx, nil) },
	"route": func(ctx context.Context, s store.Store) error {
		_, err := s.Route(ctx, e164.Number{}, e164.Number{})
		return err
	},
	"scrub": func(ctx context.Context, s store.Store) error { return s.Scrub(ctx) },
	"ready": func(ctx context.Context, s store.Store) error { return s.Ready(ctx) },
}

func watched(t *testing.T) (*Sentry, *engine, *strings.Builder) {
	log := &strings.Builder{}
	e := &engine{}
	s := New(Options{Store: e, Log: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(func() {
		if err := s.Close(); err != nil || !e.closed {
			t.Errorf("closed: %v, %v", e.closed, err)
		}
	})
	return s, e, log
}

var errRefused = errors.New("connection refused")

func TestBehindAGateThatIsShutNobodyIsAsked(t *testing.T) {
	e := &engine{}
	g := NewGate(e)
	for name, open := range doors {
		if err := open(t.Context(), g); err != nil {
			t.Errorf("%s while it is open: %v", name, err)
		}
	}
	asked := e.times()
	if !g.Shut() || g.Shut() {
		t.Error("it was not open, or is not shut")
	}
	for name, open := range doors {
		if err := open(t.Context(), g); !errors.Is(err, store.ErrShut) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e.times() != asked || asked != len(doors) {
		t.Errorf("the engine was asked %d times, %d of them before", e.times(), asked)
	}
	if err := g.Close(); err != nil || !e.closed {
		t.Errorf("closed: %v, %v", e.closed, err)
	}
}

func TestADatabaseThatIsAwayIsToldOfAtOnceAndUsedAgainWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e, log := watched(t)
		e.set(func(e *engine) { e.err = errRefused })
		if err := s.View(t.Context(), nil); !errors.Is(err, errRefused) {
			t.Errorf("the first to meet it: %v", err)
		}
		synctest.Wait()
		if !s.Away() {
			t.Fatal("nobody looked after an error")
		}
		before := e.times()
		for name, open := range doors {
			begun := time.Now()
			if err := open(t.Context(), s); !errors.Is(err, store.ErrAway) || time.Since(begun) > 0 {
				t.Errorf("%s: %v after %v", name, err, time.Since(begun))
			}
		}
		if e.times() != before {
			t.Error("the engine was asked")
		}
		<-time.After(time.Minute)
		e.set(func(e *engine) { e.err = nil })
		<-time.After(150 * time.Millisecond)
		synctest.Wait()
		for name, open := range doors {
			if err := open(t.Context(), s); err != nil {
				t.Errorf("%s once it is back: %v", name, err)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("an outage makes %d lines: %s", n, log)
		}
	})
}

func TestADatabaseThatDoesNotAnswerIsAwaySoonAndACallDoesNotWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e, _ := watched(t)
		e.set(func(e *engine) { e.hangs = true })
		begun := time.Now()
		if _, err := s.Route(t.Context(), e164.Number{}, e164.Number{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if !s.Away() {
			t.Error("still taken for there")
		}
		e.set(func(e *engine) { e.hangs = false })
		<-time.After(1500 * time.Millisecond)
		synctest.Wait()
		if s.Away() {
			t.Error("not seen to be back")
		}
	})
}

func TestOneSlowAnswerAndARefusalOfARuleAreNoAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e, log := watched(t)
		e.set(func(e *engine) { e.hangs = true })
		<-time.After(1400 * time.Millisecond) // one look is under way
		e.set(func(e *engine) { e.hangs = false })
		<-time.After(time.Second)
		e.set(func(e *engine) { e.err = masking.ErrNotFound() })
		before := e.times()
		if err := s.Update(t.Context(), nil); masking.KindOf(err) != masking.NotFound {
			t.Error(err)
		}
		synctest.Wait()
		if e.times() != before+1 {
			t.Error("a refusal has it looked for")
		}
		e.set(func(e *engine) { e.err = nil })
		if s.Away() || log.Len() > 0 {
			t.Errorf("away: %v, %s", s.Away(), log)
		}
	})
}
