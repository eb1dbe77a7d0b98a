package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Erasures remove a person's number from what a tenant keeps.
//
// Create refuses what stands in the way and writes the receipt; the work is done by
// Sweep, in slices that each leave a place to go on from: a crash costs at most
// one. What cannot be erased yet, such as a call that is up, is looked at again.
type Erasures struct {
	*core
	key        []byte // of digests
	recordings *Recordings
}

const (
	scannedAtOnce = 2000        // rows that one slice looks through
	answersAtOnce = 200         // kept answers that one slice opens
	blockersTold  = 100         // identifiers in a refusal
	lookAgain     = time.Minute // at what had to wait
)

// WantedErasure is what Create is asked for.
type WantedErasure struct {
	Number e164.Number
	Force  bool // end the active allocations that the number stands in
}

// Create begins an erasure. Conflict, with what is in the way, while the number
// stands in active allocations, unless they are to be ended first (their connected
// calls go on, and are waited for), while recordings of its calls are held, and while
// strangers are forwarded to it.
func (s *Erasures) Create(ctx context.Context, t masking.Tenant, want WantedErasure, once Once[masking.Erasure]) (Answer, error) {
	var ended []masking.AllocationID
	answer, err := change(ctx, s.core, t.ID, "erase a number", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (masking.Erasure, error) {
			ended = nil
			held, err := tx.HeldOf(ctx, t.ID, want.Number, blockersTold)
			if err != nil {
				return masking.Erasure{}, err
			}
			if len(held) > 0 {
				return masking.Erasure{}, masking.ErrNumberHeld(textsOf(held))
			}
			if err := s.checkForwards(ctx, tx, t.ID, want.Number); err != nil {
				return masking.Erasure{}, err
			}
			if ended, err = s.clear(ctx, tx, t, want, now); err != nil {
				return masking.Erasure{}, err
			}
			id, err := s.newID(masking.PrefixErasure, now)
			if err != nil {
				return masking.Erasure{}, err
			}
			e := masking.Erasure{ID: masking.ErasureID(id), Tenant: t.ID, Digest: masking.ErasedDigest(s.key, t.ID, want.Number), Part: masking.EraseAllocations,
				Number: s.box.Seal([]byte(want.Number.E164()), sealedFor(masking.ErasureID(id))), CreatedAt: now, DueAt: now}
			return e, tx.InsertErasure(ctx, e)
		})
	if err == nil {
		for _, id := range ended {
			s.ended(id, false)
		}
	}
	return answer, err
}

// checkForwards refuses a number that strangers are sent on to.
func (s *Erasures) checkForwards(ctx context.Context, tx store.Tx, id masking.TenantID, n e164.Number) error {
	t, err := tx.Tenant(ctx, id)
	if err != nil {
		return err
	}
	var by []string
	if t.Settings.Strangers.Forward == n {
		by = append(by, "stranger_policy")
	}
	numbers, err := tx.ForwardsTo(ctx, id, n, blockersTold-len(by))
	if err != nil || len(by)+len(numbers) == 0 {
		return err
	}
	for _, v := range numbers {
		by = append(by, v.E164())
	}
	return masking.ErrNumberForwardedTo(by)
}

// clear ends the active allocations that the number stands in, or refuses.
func (s *Erasures) clear(ctx context.Context, tx store.Tx, t masking.Tenant, want WantedErasure, now time.Time) (ended []masking.AllocationID, err error) {
	for {
		var active []masking.Allocation
		for _, product := range []masking.Product{masking.GreenVN, masking.GreenPin} {
			found, err := tx.Allocations(ctx, store.AllocationFilter{Tenant: t.ID, Product: product, Status: masking.Active, Party: want.Number,
				Limit: blockersTold, Now: now})
			if err != nil {
				return nil, err
			}
			active = append(active, found...)
		}
		if len(active) == 0 {
			return ended, nil
		}
		if !want.Force {
			ids := make([]string, len(active))
			for i, a := range active {
				ids[i] = string(a.ID)
			}
			return nil, masking.ErrNumberInUse(ids[:min(len(ids), blockersTold)])
		}
		for _, a := range active {
			a, err := tx.Allocation(ctx, t.ID, a.ID)
			if err != nil {
				return nil, err
			}
			a, changed := a.End(masking.EndedByAPI, now)
			if !changed || !slices.Contains(a.Parties(), want.Number) {
				continue // somebody was there before
			}
			if _, err := s.writeEnd(ctx, tx, a, t.Settings.Zone, now); err != nil {
				return nil, err
			}
			ended = append(ended, a.ID)
		}
	}
}

func textsOf[T ~string](ids []T) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

// sealedFor binds the number to its erasure.
func sealedFor(id masking.ErasureID) []byte { return []byte("erasure\x00" + id) }

// Get reads one of a tenant's erasures.
func (s *Erasures) Get(ctx context.Context, t masking.TenantID, id masking.ErasureID) (e masking.Erasure, err error) {
	err = s.view(ctx, "read an erasure", func(ctx context.Context, tx store.Reader) error {
		e, err = tx.Erasure(ctx, t, id)
		return err
	})
	return e, err
}

// ErasureQuery narrows a list of erasures; zero fields do not.
type ErasureQuery struct {
	Number e164.Number // was it erased?
	After  masking.ErasureID
	Limit  int
}

// List reads a tenant's erasures, newest first; more tells whether others follow.
func (s *Erasures) List(ctx context.Context, t masking.TenantID, q ErasureQuery) (page []masking.Erasure, more bool, err error) {
	f := store.ErasureFilter{Tenant: t, Before: q.After, Limit: q.Limit + 1}
	if !q.Number.IsZero() {
		f.Digest = masking.ErasedDigest(s.key, t, q.Number)
	}
	err = s.view(ctx, "list erasures", func(ctx context.Context, tx store.Reader) error {
		page, err = tx.Erasures(ctx, f)
		return err
	})
	page, more = cut(page, q.Limit)
	return page, more, err
}

// Sweep takes at most limit slices of erasures that have something to do. It
// gives how many it took.
func (s *Erasures) Sweep(ctx context.Context, limit int) (int, error) {
	for n := range limit {
		var due []masking.Erasure
		err := s.view(ctx, "look for erasures", func(ctx context.Context, tx store.Reader) (err error) {
			due, err = tx.DueErasures(ctx, s.now(), 1)
			return err
		})
		if err != nil || len(due) == 0 {
			return n, err
		}
		if err := s.slice(ctx, due[0]); err != nil {
			return n, err
		}
	}
	return limit, nil
}

// slice takes an erasure one slice on.
func (s *Erasures) slice(ctx context.Context, e masking.Erasure) error {
	text, err := s.box.Open(e.Number, sealedFor(e.ID))
	if err != nil {
		return s.fail(ctx, "open the number of an erasure", err)
	}
	n, err := e164.ParseStored(string(text))
	if err != nil {
		return s.fail(ctx, "read the number of an erasure", err)
	}
	switch e.Part {
	case masking.EraseAnswers:
		return s.eraseAnswers(ctx, e, n)
	case masking.EraseFiles:
		return s.finish(ctx, e)
	}
	traces := store.Traces{Tenant: e.Tenant, Number: n, Part: e.Part, After: e.Place, Until: e.CreatedAt, Scan: scannedAtOnce}
	var keys []string
	var next string
	err = s.view(ctx, "look for a number", func(ctx context.Context, tx store.Reader) (err error) {
		keys, next, err = tx.FindTraces(ctx, traces)
		return err
	})
	if err != nil {
		return err
	}
	return s.advance(ctx, e, func(ctx context.Context, tx store.Tx, is *masking.Erasure) (string, error) {
		done, waiting, err := tx.EraseTraces(ctx, traces, keys, s.now())
		is.Removed, is.Waiting = is.Removed.Plus(done), is.Waiting+waiting
		return next, err
	})
}

// advance runs a slice and writes how far it came: to next, or with "" to the next
// part. If another node took the slice meanwhile, nothing is done: the erasure is locked.
func (s *Erasures) advance(ctx context.Context, e masking.Erasure,
	fn func(ctx context.Context, tx store.Tx, is *masking.Erasure) (next string, err error)) error {
	err := s.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		is, err := tx.Erasure(ctx, e.Tenant, e.ID)
		if err != nil || is.Part != e.Part || is.Place != e.Place || !is.DueAt.Equal(e.DueAt) {
			return err
		}
		if is.Place, err = fn(ctx, tx, &is); err != nil {
			return err
		}
		if is.Place == "" {
			is.Part = is.Part.Next()
		}
		return tx.UpdateErasure(ctx, is)
	})
	return s.fail(ctx, "erase a number", err)
}

// eraseAnswers takes the number out of answers that are kept for repeated
// requests; they answer on. With the last of them goes what is kept under the
// number itself.
func (s *Erasures) eraseAnswers(ctx context.Context, e masking.Erasure, n e164.Number) error {
	return s.advance(ctx, e, func(ctx context.Context, tx store.Tx, is *masking.Erasure) (string, error) {
		kept, err := tx.ReplaysAfter(ctx, e.Tenant, e.Place, answersAtOnce)
		if err != nil {
			return "", err
		}
		for _, r := range kept {
			changed, err := s.eraseAnswer(ctx, tx, r, n)
			if err != nil {
				return "", err
			}
			is.Removed.Answers += changed
		}
		if len(kept) == answersAtOnce {
			return kept[len(kept)-1].Key, nil
		}
		forgotten, blocked, err := tx.ForgetNumber(ctx, e.Tenant, n)
		is.Removed, is.Blocked = is.Removed.Plus(forgotten), blocked
		return "", err
	})
}

func (s *Erasures) eraseAnswer(ctx context.Context, tx store.Tx, r store.Replay, n e164.Number) (changed int, err error) {
	bound := replayKey{r.Tenant, r.Key, r.Digest}.bound()
	text, err := s.box.Open(r.Body, bound)
	if err != nil {
		return 0, fmt.Errorf("open a kept answer: %w", err)
	}
	a, err := openAnswer(r.Status, text)
	if err != nil {
		return 0, err
	}
	erased := masking.EraseFromJSON(a.Body, n)
	if string(erased) == string(a.Body) {
		return 0, nil
	}
	a.Body = erased
	r.Body = s.box.Seal(a.text(), bound)
	return 1, tx.RewriteReplay(ctx, r)
}

// finish removes what is left in files, and the number itself. If something had
// to wait, all is looked through again later.
func (s *Erasures) finish(ctx context.Context, e masking.Erasure) error {
	if err := s.recordings.removeDeleted(ctx); err != nil {
		return err
	}
	if e.Waiting == 0 {
		if err := s.store.Scrub(ctx); err != nil {
			s.log.WarnContext(ctx, "an erasure waits for those who read", "tenant", string(e.Tenant), "erasure", string(e.ID), "error", err)
			return masking.ErrUnavailable()
		}
	}
	err := s.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		is, err := tx.Erasure(ctx, e.Tenant, e.ID)
		if err != nil || is.Part != e.Part || !is.DueAt.Equal(e.DueAt) {
			return err
		}
		now := s.now()
		if is.Waiting > 0 {
			is.Part, is.Place, is.Waiting, is.DueAt = masking.EraseAllocations, "", 0, now.Add(lookAgain)
			return tx.UpdateErasure(ctx, is)
		}
		is.Number, is.FinishedAt = nil, now
		return tx.UpdateErasure(ctx, is)
	})
	return s.fail(ctx, "finish an erasure", err)
}
