package control

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// draws is how many PINs of one length are drawn before the next length is tried.
// At most one in twenty of a length is taken and few are trivial, so that more
// than a handful are needed only where longer PINs begin with most shorter ones.
const draws = 64

// wanted says what a new PIN has to be.
type wanted struct {
	on     e164.Number
	length int         // at least
	apart  masking.PIN // not yet claimed, and to be told apart from; "" if none
	now    time.Time
}

// newPIN draws a PIN that nobody would guess first and that can be told from all
// others on its number. It has a digit more than wanted while so many of that
// length are live that a guess would too often be right. Exhausted:
// there is none.
func (c *core) newPIN(ctx context.Context, tx store.Tx, w wanted) (masking.PIN, error) {
	for ; w.length <= masking.MaxPINLength; w.length++ {
		crowded, err := w.crowded(ctx, tx)
		if err != nil {
			return "", err
		}
		if crowded {
			continue
		}
		for range draws {
			pin, err := c.drawPIN(w.length)
			if err != nil {
				return "", err
			}
			if free, err := w.free(ctx, tx, pin); err != nil || free {
				return pin, err
			}
		}
	}
	return "", masking.ErrNoPIN()
}

// crowded reports whether the number has PINs enough of this length. Of the
// longest it can never have.
func (w wanted) crowded(ctx context.Context, tx store.Tx) (bool, error) {
	if w.length == masking.MaxPINLength {
		return false, nil
	}
	most := masking.PINsBeforeLonger(w.length)
	n, err := tx.PINCount(ctx, w.on, w.length, w.now, most)
	if len(w.apart) == w.length {
		n++
	}
	return n >= most, err
}

// free reports whether the PIN may be given to somebody.
func (w wanted) free(ctx context.Context, tx store.Tx, pin masking.PIN) (bool, error) {
	if pin.Trivial() || alike(pin, w.apart) {
		return false, nil
	}
	return tx.PINFree(ctx, w.on, pin, w.now)
}

// alike reports whether one of the PINs begins with the other.
func alike(a, b masking.PIN) bool {
	return b != "" && (strings.HasPrefix(string(a), string(b)) || strings.HasPrefix(string(b), string(a)))
}

func (c *core) drawPIN(length int) (masking.PIN, error) {
	var random [8]byte
	if _, err := io.ReadFull(c.random, random[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return masking.DrawPIN(length, binary.BigEndian.Uint64(random[:])), nil
}

// fallback gives a GreenVN allocation the PINs with which its people call from
// another phone, if its tenant's get any.
func (p placing) fallback(ctx context.Context, tx store.Tx, a masking.Allocation) (masking.Allocation, error) {
	if !p.settings.PINFallback {
		return a, nil
	}
	return p.withPINs(ctx, tx, a, p.settings.PINLength, p.now)
}

// withPINs gives the people of From a PIN on the allocation's number and, where
// they may call, those of To another. PINs that it has and that are free there
// stay.
func (c *core) withPINs(ctx context.Context, tx store.Tx, a masking.Allocation, length int, now time.Time) (masking.Allocation, error) {
	w := wanted{on: a.VirtualNumber, length: length, now: now}
	var err error
	if a.PIN, err = c.keepPIN(ctx, tx, a.PIN, w); err != nil {
		return a, err
	}
	if a.MaxPINAttempts == 0 {
		a.MaxPINAttempts = masking.DefaultPINAttempts
	}
	if a.Usage == masking.OneWay {
		return a, nil
	}
	w.apart = a.PIN
	a.ToPIN, err = c.keepPIN(ctx, tx, a.ToPIN, w)
	return a, err
}

// renewPINs gives each side that has lost somebody another PIN: he knows the old
// one, which would go on letting him through.
func (c *core) renewPINs(ctx context.Context, tx store.Tx, was, next masking.Allocation, w wanted) (_ masking.Allocation, err error) {
	if next.Product() == masking.GreenVN && next.PIN != "" && lost(was.From, next.From) {
		if next.PIN, err = c.newPIN(ctx, tx, w); err != nil {
			return was, err
		}
		w.apart = next.PIN
	}
	if next.ToPIN != "" && lost(was.To, next.To) {
		next.ToPIN, err = c.newPIN(ctx, tx, w)
	}
	return next, err
}

// lost reports whether somebody of before is not among those of now.
func lost(before, now []e164.Number) bool {
	return slices.ContainsFunc(before, func(n e164.Number) bool { return !slices.Contains(now, n) })
}

func (c *core) keepPIN(ctx context.Context, tx store.Tx, have masking.PIN, w wanted) (masking.PIN, error) {
	if have != "" {
		if free, err := w.free(ctx, tx, have); err != nil || free {
			return have, err
		}
	}
	return c.newPIN(ctx, tx, w)
}
