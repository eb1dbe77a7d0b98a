package sentry

import (
	"context"
	"sync/atomic"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Gate is a store that can be shut, for good: nobody reads or writes it any more then
// (store.ErrShut). Its methods may be called by any goroutine.
type Gate struct {
	behind store.Store
	shut   atomic.Bool
}

var _ store.Store = (*Gate)(nil)

// NewGate is open.
func NewGate(behind store.Store) *Gate { return &Gate{behind: behind} }

// Shut lets nobody through from now on. first tells that it was open. What is under way
// comes to its end.
func (g *Gate) Shut() (first bool) { return !g.shut.Swap(true) }

// View refuses behind a gate that is shut.
func (g *Gate) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	if g.shut.Load() {
		return store.ErrShut
	}
	return g.behind.View(ctx, fn)
}

// Update refuses behind a gate that is shut.
func (g *Gate) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if g.shut.Load() {
		return store.ErrShut
	}
	return g.behind.Update(ctx, fn)
}

// Route refuses behind a gate that is shut.
func (g *Gate) Route(ctx context.Context, virtual, caller e164.Number) (masking.Route, error) {
	if g.shut.Load() {
		return masking.Route{}, store.ErrShut
	}
	return g.behind.Route(ctx, virtual, caller)
}

// Scrub refuses behind a gate that is shut.
func (g *Gate) Scrub(ctx context.Context) error {
	if g.shut.Load() {
		return store.ErrShut
	}
	return g.behind.Scrub(ctx)
}

// Ready refuses behind a gate that is shut.
func (g *Gate) Ready(ctx context.Context) error {
	if g.shut.Load() {
		return store.ErrShut
	}
	return g.behind.Ready(ctx)
}

// Close closes what is behind it.
func (g *Gate) Close() error { return g.behind.Close() }
