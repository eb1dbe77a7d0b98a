package sqlstore

import (
	"context"
	"time"

	"tandem/internal/masking"
)

// Stocks counts a tenant's numbers by kind.
func (r *Reader) Stocks(ctx context.Context, tenant masking.TenantID, now time.Time) ([]masking.Stock, error) {
	return list(ctx, r, `SELECT n.sharing, n.region, n.type, COUNT(*),
		SUM(CASE WHEN n.busy_until > ? OR (n.sharing = '`+string(masking.Shared)+`' AND n.load > 0) THEN 1 ELSE 0 END), SUM(n.load),
		SUM((SELECT COUNT(*) FROM claim WHERE virtual_number = n.number AND `+pinClaims+` AND expires_at > ?))
		FROM virtual_number n WHERE n.tenant = ? GROUP BY n.sharing, n.region, n.type ORDER BY n.sharing, n.region, n.type`,
		[]any{millis(now), millis(now), tenant},
		func(_ *Reader, row Scanner) (s masking.Stock, err error) {
			return s, row.Scan(sharingCol(&s.Sharing), &s.Region, &s.Type, &s.Numbers, &s.Busy, &s.Load, &s.PINs)
		})
}

// Demand reads when a tenant's exclusive numbers are free again, and how long
// allocations on them live that were made lately: identifiers sort by time, so the
// newest come first and those of before are not looked at.
func (r *Reader) Demand(ctx context.Context, tenant masking.TenantID, since, now time.Time, limit int) (d masking.Demand, err error) {
	err = r.row(ctx, `SELECT COUNT(*) FROM virtual_number WHERE tenant = ? AND sharing = ?`, []any{tenant, masking.Exclusive}, &d.Numbers)
	if err != nil {
		return d, err
	}
	d.Until, err = list(ctx, r, `SELECT busy_until FROM virtual_number WHERE tenant = ? AND sharing = ? AND busy_until > ? ORDER BY busy_until`,
		[]any{tenant, masking.Exclusive, millis(now)}, func(_ *Reader, row Scanner) (at time.Time, err error) {
			return at, row.Scan(timeCol{&at})
		})
	if err != nil {
		return d, err
	}
	d.Period = now.Sub(since)
	oldest := now
	d.Lives, err = list(ctx, r, `SELECT a.created_at, CASE WHEN a.ended_at <> 0 AND a.ended_at < a.expires_at THEN a.ended_at ELSE a.expires_at END
		FROM allocation a JOIN virtual_number n ON n.number = a.virtual_number
		WHERE a.tenant = ? AND a.id >= ? AND a.id < 'gvn_~' AND n.sharing = ? ORDER BY a.id DESC LIMIT ?`,
		[]any{tenant, masking.NewID(masking.PrefixAllocation, since, [10]byte{}), masking.Exclusive, most(limit)},
		func(_ *Reader, row Scanner) (life time.Duration, err error) {
			var ended time.Time
			err = row.Scan(timeCol{&oldest}, timeCol{&ended})
			return ended.Sub(oldest), err
		})
	if limit > 0 && len(d.Lives) == limit {
		d.Period = max(now.Sub(oldest), time.Millisecond)
	}
	return d, err
}
