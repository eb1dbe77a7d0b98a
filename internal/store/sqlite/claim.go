package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// routeQuery is the one read of every call: four steps, each by a primary key.
const routeQuery = `SELECT ` + numberColumns + `, ` + tenantColumns + `, c.allocation IS NOT NULL, ` + allocationColumns + `
	FROM virtual_number n
	JOIN tenant t ON t.id = n.tenant
	LEFT JOIN claim c ON c.virtual_number = n.number AND c.caller = ?
	LEFT JOIN allocation a ON a.id = c.allocation
	WHERE n.number = ?`

// Route reads what masking.Admit needs, whatever the expiry of it.
func (r *reader) Route(ctx context.Context, virtual, caller e164.Number) (masking.Route, error) {
	var route masking.Route
	var a masking.Allocation
	var claimed bool
	dest := append(numberDest(&route.Number), r.tenantDest(&route.Tenant)...)
	dest = append(dest, &claimed)
	for _, to := range allocationDest(&a) {
		dest = append(dest, outerCol{to})
	}
	if err := r.row(ctx, routeQuery, []any{caller.E164(), virtual.E164()}, dest...); err != nil {
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

// Hold makes exactly these the allocation's claims, or changes nothing.
//
// One statement takes them all: a free key is inserted, an expired or own one
// is taken over, and one that another allocation holds beyond now is left
// alone and not returned. So fewer rows than claims means a conflict.
func (t *tx) Hold(ctx context.Context, id masking.AllocationID, claims []masking.Claim, sharing masking.Sharing, now time.Time) error {
	for _, c := range claims {
		if c.Allocation != id || c.VirtualNumber != claims[0].VirtualNumber {
			return errors.New("sqlite: hold: the claims are not of one allocation on one number")
		}
	}
	if _, err := t.exec(ctx, `SAVEPOINT hold`); err != nil {
		return err
	}
	err := t.hold(ctx, id, claims, sharing, now)
	if t.failed != nil {
		return err // the writer rolls all of it back
	}
	if err != nil {
		if back := t.note(t.command(`ROLLBACK TO hold`)); back != nil {
			return back
		}
	}
	if release := t.note(t.command(`RELEASE hold`)); release != nil {
		return release
	}
	return err
}

// hold is Hold without the way back.
func (t *tx) hold(ctx context.Context, id masking.AllocationID, claims []masking.Claim, sharing masking.Sharing, now time.Time) error {
	if t.unclaimed != id {
		if err := t.releaseOthers(ctx, id, claims); err != nil {
			return err
		}
	}
	if len(claims) == 0 {
		return nil
	}
	text := make([]byte, 0, 320+16*len(claims))
	text = append(text, `INSERT INTO claim (virtual_number, caller, allocation, expires_at) VALUES `...)
	args := make([]any, 0, 4*len(claims)+1)
	for i, c := range claims {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, `(?, ?, ?, ?)`...)
		args = append(args, c.VirtualNumber.E164(), c.Caller, id, millis(c.ExpiresAt))
	}
	text = append(text, ` ON CONFLICT (virtual_number, caller) DO UPDATE
		SET allocation = excluded.allocation, expires_at = excluded.expires_at
		WHERE claim.expires_at <= ? OR claim.allocation = excluded.allocation
		RETURNING caller`...)
	held, err := list(ctx, &t.reader, string(text), append(args, millis(now)), scanText)
	switch {
	case orphan(err):
		return masking.ErrNotFound()
	case err != nil:
		return fmt.Errorf("hold: %w", err)
	case len(held) < len(claims):
		return masking.ErrClaimed(sharing)
	}
	t.unclaimed = ""
	return nil
}

// releaseOthers gives up the allocation's claims that are not among those to
// keep, which are all on one number.
func (t *tx) releaseOthers(ctx context.Context, id masking.AllocationID, keep []masking.Claim) error {
	text, args := `DELETE FROM claim WHERE allocation = ?`, []any{id}
	if len(keep) > 0 {
		text += ` AND NOT (virtual_number = ? AND caller IN (` + marks(len(keep)) + `))`
		args = append(args, keep[0].VirtualNumber.E164())
		for _, c := range keep {
			args = append(args, c.Caller)
		}
	}
	_, err := t.exec(ctx, text, args...)
	return err
}

func scanText(_ *reader, row scanner) (s string, err error) { return s, row.Scan(&s) }

// Release gives up all claims of the allocation.
func (t *tx) Release(ctx context.Context, id masking.AllocationID) error {
	return t.releaseOthers(ctx, id, nil)
}
