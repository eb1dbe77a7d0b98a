package sqlstore

import (
	"context"
	"slices"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// The lengths of PINs' keys in claim: # and the digits (masking.MinPINLength to
// masking.MaxPINLength).
const (
	pinKeys    = `5, 6, 7, 8, 9`
	pinKeyRows = `(5), (6), (7), (8), (9)`
)

// PINCase reads the number with what claims the PIN on it, then whose entries
// the caller's are counted against.
func (r *Reader) PINCase(ctx context.Context, virtual, caller e164.Number, pin masking.PIN, now time.Time) (c masking.PINCase, err error) {
	if c.Route, err = r.route(ctx, virtual, pin.Claimant()); err != nil {
		return c, err
	}
	if !caller.IsZero() {
		c.Party, err = list(ctx, r, `SELECT a.id, a.max_pin_attempts, COALESCE(y.wrong, 0), COALESCE(y.last_at, 0)
			FROM party p JOIN allocation a ON a.id = p.allocation
			LEFT JOIN pin_try y ON y.virtual_number = p.virtual_number AND y.allocation = p.allocation AND y.caller = p.number
			WHERE p.number = ? AND p.virtual_number = ? AND p.until > ? AND p.pin = 1`,
			[]any{caller.E164(), virtual.E164(), millis(now)}, scanPartyTries)
	}
	if err != nil || len(c.Party) > 0 {
		return c, err
	}
	others, err := list(ctx, r, `SELECT wrong, last_at FROM pin_try WHERE virtual_number = ? AND allocation = '' AND caller = ?`,
		[]any{virtual.E164(), caller.E164()}, func(_ *Reader, row Scanner) (t masking.Tries, err error) {
			return t, row.Scan(&t.Wrong, timeCol{&t.Last})
		})
	if len(others) == 1 {
		c.Other = others[0]
	}
	return c, err
}

func scanPartyTries(_ *Reader, row Scanner) (p masking.PartyTries, err error) {
	err = row.Scan(&p.Allocation, &p.Most, &p.Wrong, timeCol{&p.Last})
	if (masking.Allocation{ID: p.Allocation}).Product() == masking.GreenVN {
		p.Most = masking.DefaultPINAttempts // of a PIN for calls from another phone
	}
	return p, err
}

// PINLengths asks for each length whether a PIN of it is live.
func (r *Reader) PINLengths(ctx context.Context, virtual e164.Number, now time.Time) ([]int, error) {
	lengths, err := list(ctx, r, `SELECT k.column1 - 1 FROM (VALUES `+pinKeyRows+`) k WHERE EXISTS (SELECT 1 FROM claim INDEXED BY claim_pin
		WHERE virtual_number = ? AND length(caller) = k.column1 AND expires_at > ? AND `+pinClaims+`)`,
		[]any{virtual.E164(), millis(now)}, func(_ *Reader, row Scanner) (n int, err error) { return n, row.Scan(&n) })
	slices.Sort(lengths)
	return lengths, err
}

// PINCount counts live PINs of one length, which lie together.
func (r *Reader) PINCount(ctx context.Context, virtual e164.Number, length int, now time.Time, limit int) (n int, err error) {
	err = r.row(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM claim INDEXED BY claim_pin
		WHERE virtual_number = ? AND length(caller) = ? AND expires_at > ? AND `+pinClaims+` LIMIT ?) counted`,
		[]any{virtual.E164(), length + 1, millis(now), most(limit)}, &n)
	return n, err
}

// PINFree looks for the PIN and its beginnings by their keys, and then for what
// begins with it: that comes after its own key and before the one that ends in
// ':', which comes after '9'.
func (r *Reader) PINFree(ctx context.Context, virtual e164.Number, pin masking.PIN, now time.Time) (bool, error) {
	r.c.Lock(ForUpdate, `virtual_number WHERE number = ?`, virtual.E164())
	key := pin.Claimant()
	args := []any{virtual.E164(), millis(now)}
	for n := masking.MinPINLength + 1; n <= len(key); n++ {
		args = append(args, key[:n])
	}
	taken, err := r.found(ctx, `SELECT 1 FROM claim WHERE virtual_number = ? AND expires_at > ? AND caller IN (`+marks(len(args)-2)+`) LIMIT 1`,
		args...)
	if err != nil || taken {
		return false, err
	}
	longer, err := r.found(ctx, `SELECT 1 FROM claim WHERE virtual_number = ? AND caller > ? AND caller < ? AND expires_at > ? LIMIT 1`,
		virtual.E164(), key, key+":", millis(now))
	return err == nil && !longer, err
}

// CountWrong adds one wrong entry to each. A count whose last entry is as old as
// it is remembered begins anew; a clock that is behind makes no entry younger.
func (t *Tx) CountWrong(ctx context.Context, whose []masking.TriesOf, now time.Time) error {
	for _, k := range whose {
		_, err := t.exec(ctx, `INSERT INTO pin_try (virtual_number, allocation, caller, wrong, last_at) VALUES (?, ?, ?, 1, ?)
			ON CONFLICT (virtual_number, allocation, caller) DO UPDATE SET
			wrong = CASE WHEN pin_try.last_at <= ? THEN 1 ELSE pin_try.wrong + 1 END, last_at = CASE WHEN pin_try.last_at > excluded.last_at THEN pin_try.last_at ELSE excluded.last_at END`,
			k.VirtualNumber.E164(), k.Allocation, k.Caller.E164(), millis(now), millis(now.Add(-k.Forgets())))
		if err != nil {
			return err
		}
	}
	return nil
}

// ForgetWrong forgets the wrong entries of one party or of all.
func (t *Tx) ForgetWrong(ctx context.Context, a masking.Allocation, caller e164.Number) error {
	text, args := `DELETE FROM pin_try WHERE virtual_number = ? AND allocation = ?`, []any{a.VirtualNumber.E164(), a.ID}
	if !caller.IsZero() {
		text, args = `DELETE FROM pin_try WHERE virtual_number = ? AND allocation IN (?, '') AND caller = ?`, append(args, caller.E164())
	}
	_, err := t.exec(ctx, text, args...)
	return err
}

// ForgetTries removes old counts, the oldest first.
func (t *Tx) ForgetTries(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.exec(ctx, forget(`pin_try`, `virtual_number, allocation, caller`,
		`SELECT virtual_number, allocation, caller FROM pin_try WHERE last_at < ? ORDER BY last_at LIMIT ?`), millis(before), most(limit))
	return int(n), err
}
