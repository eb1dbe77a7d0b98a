package control

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"tandem/internal/masking"
	"tandem/internal/seal"
	"tandem/internal/store"
)

// ReplayFor is how long the first answer to an Idempotency-Key is kept.
const ReplayFor = 24 * time.Hour

// operators is the scope of the keys that operators use. No tenant has this id.
const operators masking.TenantID = ""

// An Answer is what the caller of a change is told, as it went out.
type Answer struct {
	Status int
	Body   []byte
	// RetryAfter is when a refused request may succeed, for the edge to say
	// anew at each repeat; zero if unknown.
	RetryAfter time.Time
}

// Once ties a change to its answer, so that the same request sent again is
// answered with the same bytes and changes nothing.
//
// The answer is made inside the transaction of the change and kept with it: a
// crash leaves both or neither. A duplicate in flight waits for the first in
// the store and then finds its answer. A refusal that a rule gave (Conflict,
// Exhausted) is kept too, in a transaction of its own, since that of the change
// was rolled back; a request that was wrong as written is not: it is judged
// anew.
type Once[T any] struct {
	By     Origin   // who asks; for the audit log
	Key    string   // the caller's Idempotency-Key; "" keeps nothing
	Digest [32]byte // of all that the request says
	// Render and Refuse make the answer. They may be called more than once.
	Render func(result T) Answer
	Refuse func(*masking.Error) Answer
}

// change runs fn in a transaction, at most once for a key within scope, and
// writes it into the audit log there (see audit.go). fn may run more than once,
// as the store says, and gets the time of the run that counts.
func change[T any](ctx context.Context, c *core, scope masking.TenantID, doing string, once Once[T],
	fn func(ctx context.Context, tx store.Tx, now time.Time) (T, error)) (Answer, error) {
	key := replayKey{scope, once.Key, once.Digest}
	var out Answer
	err := c.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		now := c.now()
		kept, found, err := c.kept(ctx, tx, key, now)
		if err != nil || found {
			out = kept
			return err
		}
		result, err := fn(ctx, tx, now)
		if err != nil {
			return err
		}
		if audited[T](scope) {
			if err := tx.AppendAudit(ctx, entry(once.By, scope, result, now)); err != nil {
				return err
			}
		}
		out = once.Render(result)
		return c.keep(ctx, tx, key, out, now)
	})
	if err == nil {
		return out, nil
	}
	var refused *masking.Error
	if errors.As(err, &refused) && lasting(refused) && (key.given() || audited[T](scope)) {
		return c.keepRefusal(ctx, key, refused, func(ctx context.Context, tx store.Tx, now time.Time) (Answer, error) {
			if audited[T](scope) {
				if err := tx.AppendAudit(ctx, refusedEntry(once.By, scope, refused, now)); err != nil {
					return Answer{}, err
				}
			}
			if !key.given() {
				return Answer{}, nil
			}
			return once.Refuse(refused), nil
		})
	}
	return Answer{}, c.fail(ctx, doing, err)
}

// lasting reports whether a refusal answers its key for good.
func lasting(e *masking.Error) bool {
	return (e.Kind == masking.Conflict || e.Kind == masking.Exhausted) && e.Code != masking.CodeIdempotencyKeyReused
}

// replayKey says which request an answer belongs to.
type replayKey struct {
	scope  masking.TenantID
	key    string
	digest [32]byte
}

func (k replayKey) given() bool { return k.key != "" }

// bound is what a sealed answer is tied to: moved to another row, it does not open.
func (k replayKey) bound() []byte {
	b := append([]byte(k.scope), 0)
	b = append(append(b, k.key...), 0)
	return append(b, k.digest[:]...)
}

// kept finds the first answer to the key.
func (c *core) kept(ctx context.Context, tx store.Tx, k replayKey, now time.Time) (Answer, bool, error) {
	if !k.given() {
		return Answer{}, false, nil
	}
	r, err := tx.Replay(ctx, k.scope, k.key, now.Add(-ReplayFor))
	switch {
	case masking.KindOf(err) == masking.NotFound:
		return Answer{}, false, nil
	case err != nil:
		return Answer{}, false, err
	case r.Digest != k.digest:
		return Answer{}, false, &masking.Error{Kind: masking.Conflict, Code: masking.CodeIdempotencyKeyReused,
			Message: "this Idempotency-Key was used for another request"}
	}
	body, err := c.box.Open(r.Body, k.bound())
	if err != nil {
		return Answer{}, false, fmt.Errorf("open a kept answer: %w", err)
	}
	a, err := openAnswer(r.Status, body)
	return a, err == nil, err
}

// text is an answer as it is sealed: RetryAfter in milliseconds of Unix time, 0
// for none, in 8 bytes (big-endian), then the body.
func (a Answer) text() []byte {
	var at int64
	if !a.RetryAfter.IsZero() {
		at = a.RetryAfter.UnixMilli()
	}
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(a.Body)), uint64(at)), a.Body...)
}

// openAnswer reads what text wrote.
func openAnswer(status int, text []byte) (Answer, error) {
	if len(text) < 8 {
		return Answer{}, errors.New("a kept answer is too short")
	}
	a := Answer{Status: status, Body: text[8:]}
	if at := int64(binary.BigEndian.Uint64(text)); at != 0 {
		a.RetryAfter = time.UnixMilli(at).UTC()
	}
	return a, nil
}

// keep writes the first answer to the key. It is sealed: an answer may hold a
// token, which the database must not know.
func (c *core) keep(ctx context.Context, tx store.Tx, k replayKey, a Answer, now time.Time) error {
	if !k.given() {
		return nil
	}
	return tx.KeepReplay(ctx, store.Replay{Tenant: k.scope, Key: k.key, Digest: k.digest, Status: a.Status,
		Body: c.box.Seal(a.text(), k.bound()), CreatedAt: now})
}

// keepRefusal keeps a refusal as the answer to the key, if there is one. A
// duplicate that came between the refused transaction and this one may have
// succeeded meanwhile: then its answer is the key's. With no key to answer, the
// refusal itself is given back.
func (c *core) keepRefusal(ctx context.Context, k replayKey, refused *masking.Error,
	refuse func(ctx context.Context, tx store.Tx, now time.Time) (Answer, error)) (Answer, error) {
	var out Answer
	err := c.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		now := c.now()
		first, found, err := c.kept(ctx, tx, k, now)
		if err != nil || found {
			out = first
			return err
		}
		if out, err = refuse(ctx, tx, now); err != nil {
			return err
		}
		return c.keep(ctx, tx, k, out, now)
	})
	switch {
	case err != nil:
		return Answer{}, c.fail(ctx, "keep a refusal", err)
	case !k.given():
		return Answer{}, refused
	}
	return out, nil
}

// newBox seals kept answers, which last a day, by a key made of the token key.
func newBox(tokenKey []byte) (*seal.Box, error) {
	m := hmac.New(sha256.New, tokenKey)
	m.Write([]byte("tandem: kept answers"))
	return seal.NewGCM(m.Sum(nil))
}
