package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// pinClaims are the claims of PINs. Written as the index claim_pin is, which a
// statement finds by these words; '$' comes after '#'.
const pinClaims = `caller >= '#' AND caller < '$'`

// routeQuery is the one read of every call: five steps, and whether the caller is blocked, each by a primary key.
const routeQuery = `SELECT ` + numberColumns + `, ` + tenantColumns + `,
	EXISTS (SELECT 1 FROM claim WHERE virtual_number = n.number AND ` + pinClaims + `),
	EXISTS (SELECT 1 FROM blocked_caller WHERE tenant = n.tenant AND number = ?), c.allocation IS NOT NULL, ` + allocationColumns + `
	FROM virtual_number n
	JOIN tenant t ON t.id = n.tenant
	LEFT JOIN claim c ON c.virtual_number = n.number AND c.caller = ?
	LEFT JOIN allocation a ON a.id = c.allocation
	WHERE n.number = ?`

// Route reads what masking.Admit needs, whatever the expiry of it.
func (r *Reader) Route(ctx context.Context, virtual, caller e164.Number) (masking.Route, error) {
	return r.route(ctx, virtual, caller.E164())
}

// route reads a number with the allocation that holds a claim on it.
func (r *Reader) route(ctx context.Context, virtual e164.Number, claimant string) (masking.Route, error) {
	var route masking.Route
	var a masking.Allocation
	var claimed bool
	dest := append(numberDest(&route.Number), r.tenantDest(&route.Tenant)...)
	dest = append(dest, &route.PINs, &route.Blocked, &claimed)
	for _, to := range allocationDest(&a) {
		dest = append(dest, outerCol{to})
	}
	if err := r.row(ctx, routeQuery, []any{claimant, claimant, virtual.E164()}, dest...); err != nil {
		return masking.Route{}, absent(err)
	}
	if claimed {
		if a.ID == "" {
			return masking.Route{}, corrupt("claim")
		}
		route.Found = []masking.Allocation{a}
	}
	return route, nil
}

// routesQuery is routeQuery for many callers. The keys of PINs, and that for any caller,
// begin with another character than a number does.
const routesQuery = `SELECT ` + numberColumns + `, ` + tenantColumns + `,
	EXISTS (SELECT 1 FROM blocked_caller WHERE tenant = n.tenant AND number = c.caller), c.caller, ` + allocationColumns + `
	FROM claim c
	JOIN virtual_number n ON n.number = c.virtual_number
	JOIN tenant t ON t.id = n.tenant
	JOIN allocation a ON a.id = c.allocation
	WHERE (c.virtual_number, c.caller) > (?, ?) AND c.caller >= '+' AND c.caller < ',' AND c.expires_at > ?
	ORDER BY c.virtual_number, c.caller LIMIT ?`

// Routes are the routes of callers with a live claim.
func (r *Reader) Routes(ctx context.Context, after store.RouteKey, now time.Time, limit int) ([]store.KnownRoute, error) {
	return list(ctx, r, routesQuery, []any{after.Virtual.E164(), after.Caller.E164(), millis(now), most(limit)},
		func(r *Reader, row Scanner) (k store.KnownRoute, err error) {
			k.Found = make([]masking.Allocation, 1)
			dest := append(numberDest(&k.Number), r.tenantDest(&k.Tenant)...)
			dest = append(dest, &k.Blocked, numberCol{&k.Caller})
			return k, row.Scan(append(dest, allocationDest(&k.Found[0])...)...)
		})
}

// Hold gives the allocation its place on its number, or changes nothing.
//
// One statement takes them all: a free key is inserted, an expired or own one
// is taken over, and one that another allocation holds beyond now is left
// alone and not returned. So fewer rows than claims means a conflict.
func (t *Tx) Hold(ctx context.Context, a masking.Allocation, sharing masking.Sharing, now time.Time) error {
	return t.c.Try(ctx, func() error { return t.hold(ctx, a, sharing, now) })
}

// hold is Hold without the way back.
func (t *Tx) hold(ctx context.Context, a masking.Allocation, sharing masking.Sharing, now time.Time) error {
	claims := a.Claims(sharing)
	t.c.Lock(ForUpdate, `virtual_number WHERE number = ?`, a.VirtualNumber.E164())
	if t.unclaimed != a.ID {
		if err := t.releaseOthers(ctx, a.ID, claims); err != nil {
			return err
		}
	}
	if len(claims) == 0 {
		return nil
	}
	check := t.checkSilent
	if sharing == masking.Exclusive {
		check = t.checkOther
	}
	if err := check(ctx, a, now); err != nil {
		return err
	}
	text := make([]byte, 0, 320+16*len(claims))
	text = append(text, `INSERT INTO claim (virtual_number, caller, allocation, expires_at) VALUES `...)
	args := make([]any, 0, 4*len(claims)+1)
	for i, c := range claims {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, `(?, ?, ?, ?)`...)
		args = append(args, c.VirtualNumber.E164(), c.Caller, a.ID, millis(c.ExpiresAt))
	}
	text = append(text, ` ON CONFLICT (virtual_number, caller) DO UPDATE
		SET allocation = excluded.allocation, expires_at = excluded.expires_at
		WHERE claim.expires_at <= ? OR claim.allocation = excluded.allocation
		RETURNING caller`...)
	held, err := list(ctx, &t.Reader, string(text), append(args, millis(now)), scanText)
	switch {
	case errors.Is(err, ErrOrphan):
		return masking.ErrNotFound()
	case err != nil:
		return fmt.Errorf("hold: %w", err)
	case len(held) < len(claims):
		return masking.ErrClaimed(sharing)
	}
	t.unclaimed = ""
	switch {
	case sharing == masking.Shared:
		return nil
	case a.Product() == masking.GreenPin:
		return t.noteBusy(ctx, a.VirtualNumber.E164())
	}
	_, err = t.exec(ctx, `UPDATE virtual_number SET busy_until = ? WHERE number = ?`, millis(a.ExpiresAt), a.VirtualNumber.E164())
	return err
}

// checkOther refuses where an exclusive number would carry an allocation by
// numbers and another one with PINs: their claims have no key in common.
// The number is locked, so nobody comes between this and the claims.
func (t *Tx) checkOther(ctx context.Context, a masking.Allocation, now time.Time) error {
	text := `SELECT 1 FROM claim WHERE virtual_number = ? AND caller = '` + masking.AnyCaller + `' AND expires_at > ? AND allocation <> ?`
	if a.Product() == masking.GreenVN {
		text = `SELECT 1 FROM claim INDEXED BY claim_pin WHERE virtual_number = ? AND ` + pinClaims + ` AND length(caller) IN (` + pinKeys + `)
			AND expires_at > ? AND allocation <> ? LIMIT 1`
	}
	met, err := t.found(ctx, text, a.VirtualNumber.E164(), millis(now), a.ID)
	if err == nil && met {
		return masking.ErrClaimed(masking.Exclusive)
	}
	return err
}

// checkSilent refuses where a number would stand in a and in another live
// allocation on a shared number, and could call in one of the two. Two that may
// call are left to the key of claim, as PINs are, by which nobody meets anybody
// else. The number is locked, so nobody comes between this and the claims.
func (t *Tx) checkSilent(ctx context.Context, a masking.Allocation, now time.Time) error {
	if a.Product() == masking.GreenPin {
		return nil
	}
	callers, silent := a.Callers(), a.Silent()
	met, err := t.found(ctx, `SELECT 1 FROM party WHERE number IN (`+marks(len(callers))+`) AND virtual_number = ?
		AND until > ? AND silent = 1 AND allocation <> ? LIMIT 1`,
		append(texts(nil, callers), a.VirtualNumber.E164(), millis(now), a.ID)...)
	if err == nil && !met && len(silent) > 0 {
		met, err = t.found(ctx, `SELECT 1 FROM claim WHERE virtual_number = ? AND caller IN (`+marks(len(silent))+`)
			AND expires_at > ? AND allocation <> ? LIMIT 1`,
			append(texts([]any{a.VirtualNumber.E164()}, silent), millis(now), a.ID)...)
	}
	if err == nil && met {
		return masking.ErrClaimed(masking.Shared)
	}
	return err
}

// noteBusy writes beside an exclusive number when the last claim ends that closes
// it to an allocation by numbers, where the automatic choice looks: that for any
// caller, or that of a PIN. The latest PIN is looked up for each length.
func (t *Tx) noteBusy(ctx context.Context, virtual string) error {
	_, err := t.exec(ctx, `UPDATE virtual_number SET busy_until = COALESCE((SELECT MAX(until.at) FROM (
		SELECT expires_at AS at FROM claim WHERE virtual_number = ? AND caller = '`+masking.AnyCaller+`' UNION ALL
		SELECT (SELECT MAX(expires_at) FROM claim INDEXED BY claim_pin
			WHERE virtual_number = ? AND length(caller) = k.column1 AND `+pinClaims+`)
			FROM (VALUES `+pinKeyRows+`) k) until), 0)
		WHERE number = ? AND sharing = '`+string(masking.Exclusive)+`'`, virtual, virtual, virtual)
	return err
}

// releaseOthers gives up the allocation's claims that are not among those to
// keep, which are all on one number.
func (t *Tx) releaseOthers(ctx context.Context, id masking.AllocationID, keep []masking.Claim) error {
	text, args := `DELETE FROM claim WHERE allocation = ?`, []any{id}
	if len(keep) > 0 {
		text += ` AND NOT (virtual_number = ? AND caller IN (` + marks(len(keep)) + `))`
		args = append(args, keep[0].VirtualNumber.E164())
		for _, c := range keep {
			args = append(args, c.Caller)
		}
	}
	released, err := list(ctx, &t.Reader, text+` RETURNING virtual_number, caller`, args, scanKey)
	if err != nil {
		return err
	}
	noted := ""
	for _, key := range released {
		closing := key[1] == masking.AnyCaller || strings.HasPrefix(key[1], "#")
		if !closing || key[0] == noted {
			continue
		}
		if err := t.noteBusy(ctx, key[0]); err != nil {
			return err
		}
		noted = key[0] // an allocation is on one number
	}
	return nil
}

// scanKey scans the key of a claim.
func scanKey(_ *Reader, row Scanner) (key [2]string, err error) {
	return key, row.Scan(&key[0], &key[1])
}

func scanText(_ *Reader, row Scanner) (s string, err error) { return s, row.Scan(&s) }

// Release gives up all claims of the allocation.
func (t *Tx) Release(ctx context.Context, id masking.AllocationID) error {
	return t.releaseOthers(ctx, id, nil)
}
