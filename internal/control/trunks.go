package control

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Trunks are the operator's use cases of trunks.
type Trunks struct {
	*core
	secrets Secrets
}

// Seal encrypts a trunk's password. What it gives opens for that trunk only.
func (s *Trunks) Seal(trunk, password string) []byte { return s.secrets.Seal(trunk, password) }

// Create adds a trunk. A taken name is Conflict.
func (s *Trunks) Create(ctx context.Context, t masking.Trunk, once Once[masking.Trunk]) (Answer, error) {
	return change(ctx, s.core, operators, "add a trunk", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (masking.Trunk, error) {
			t := t
			t.CreatedAt, t.UpdatedAt = now, now
			if err := t.Check(); err != nil {
				return t, err
			}
			return t, tx.InsertTrunk(ctx, t)
		})
}

// Get reads a trunk.
func (s *Trunks) Get(ctx context.Context, name string) (t masking.Trunk, err error) {
	err = s.view(ctx, "read a trunk", func(ctx context.Context, tx store.Reader) error {
		t, err = tx.Trunk(ctx, name)
		return err
	})
	return t, err
}

// List reads all trunks.
func (s *Trunks) List(ctx context.Context) (trunks []masking.Trunk, err error) {
	err = s.view(ctx, "list trunks", func(ctx context.Context, tx store.Reader) error {
		trunks, err = tx.Trunks(ctx)
		return err
	})
	return trunks, err
}

// Update changes a trunk by edit, which must be pure. Calls that are up keep
// the trunk as it was.
func (s *Trunks) Update(ctx context.Context, name string, edit func(masking.Trunk) (masking.Trunk, error), once Once[masking.Trunk]) (Answer, error) {
	return change(ctx, s.core, operators, "change a trunk", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (masking.Trunk, error) {
			t, err := tx.Trunk(ctx, name)
			if err != nil {
				return t, err
			}
			if t, err = edit(t); err != nil {
				return t, err
			}
			t.Name, t.UpdatedAt = name, now
			if err := t.Check(); err != nil {
				return t, err
			}
			return t, tx.UpdateTrunk(ctx, t)
		})
}

// Remove takes a trunk away.
func (s *Trunks) Remove(ctx context.Context, name string, once Once[string]) (Answer, error) {
	return change(ctx, s.core, operators, "remove a trunk", once,
		func(ctx context.Context, tx store.Tx, _ time.Time) (string, error) {
			return name, tx.DeleteTrunk(ctx, name)
		})
}
