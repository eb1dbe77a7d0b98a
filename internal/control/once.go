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
// the store, at the latest where its own answer would be kept; what it has done
// is undone then, and it finds the answer of the first. A refusal that a rule
// gave (Conflict, Exhausted) is kept too, in a transaction of its own, since
// that of the change was rolled back; a request that was wrong as written is
// not: it is judged anew.
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
	out, err := c.first(ctx, key, func(ctx context.Context, tx store.Tx, now time.Time) (Answer, error) {
		result, err := fn(ctx, tx, now)
		if err != nil {
			return Answer{}, err
		}
		if audited[T](scope) {
			if err := tx.AppendAudit(ctx, entry(once.By, scope, result, now)); err != nil {
				return Answer{}, err
			}
		}
		return once.Render(result), nil
	})
	var refused *masking.Error
	switch {
	case !errors.As(err, &refused):
		return out, c.fail(ctx, doing, err)
	case lasting(refused) && (key.given() || audited[T](scope)):
	case refused.Kind == masking.NotFound && key.given(): // a duplicate has removed it, maybe
	default:
		return out, c.fail(ctx, doing, err)
	}
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

// first gives the answer that is kept under the key, or else makes one in a
// transaction and keeps it there. Another request under the key may keep its own
// while this one is being made: then nothing of this one remains, and that answer
// is found.
func (c *core) first(ctx context.Context, k replayKey, give func(ctx context.Context, tx store.Tx, now time.Time) (Answer, error)) (out Answer, err error) {
	met := false
	run := func(ctx context.Context, tx store.Tx) error {
		met = false
		now := c.now()
		found, err := false, error(nil)
		if out, found, err = c.kept(ctx, tx, k, now); err != nil || found {
			return err
		}
		if out, err = give(ctx, tx, now); err != nil {
			return err
		}
		err = c.keep(ctx, tx, k, out, now)
		met = masking.KindOf(err) == masking.Conflict
		return err
	}
	if err = c.store.Update(ctx, run); met {
		err = c.store.Update(ctx, run)
	}
	if err != nil {
		return Answer{}, err
	}
	return out, nil
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
	r, err := tx.Replay(ctx, k.scope, k.key, now.Add(-store.ReplayFor))
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

// keepRefusal keeps a refusal that lasts as the answer to the key, if there is one. A
// duplicate may have succeeded meanwhile, which is why this one was refused, say: then
// its answer is the key's. With no key to answer, or where it does not last, the refusal
// itself is given back.
func (c *core) keepRefusal(ctx context.Context, k replayKey, refused *masking.Error,
	refuse func(ctx context.Context, tx store.Tx, now time.Time) (Answer, error)) (Answer, error) {
	out, err := c.first(ctx, k, func(ctx context.Context, tx store.Tx, now time.Time) (Answer, error) {
		if !lasting(refused) {
			return Answer{}, refused
		}
		return refuse(ctx, tx, now)
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
