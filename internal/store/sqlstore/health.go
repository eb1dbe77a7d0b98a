package sqlstore

import (
	"context"
	"encoding/json"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// health is virtual_number.health, with times in milliseconds.
type health struct {
	Since  int64         `json:"since,omitempty"`
	Reason masking.Blame `json:"reason,omitempty"`
	Legs   []shownLeg    `json:"legs"`
}

type shownLeg struct {
	At    int64                `json:"at"`
	Blame masking.Blame        `json:"blame,omitempty"`
	Of    masking.AllocationID `json:"of,omitempty"`
}

// healthText writes the same text for the same health.
func healthText(h masking.NumberHealth) string {
	if len(h.Legs) == 0 {
		return ""
	}
	v := health{Since: millis(h.Since), Reason: h.Reason}
	for _, l := range h.Legs {
		v.Legs = append(v.Legs, shownLeg{millis(l.At), l.Blame, l.Of})
	}
	b, _ := json.Marshal(v) // numbers and texts can always be written
	return string(b)
}

// healthCol scans virtual_number.health.
type healthCol struct{ to *masking.NumberHealth }

func (c healthCol) Scan(src any) error {
	s, err := textOf(src, "health of a number")
	*c.to = masking.NumberHealth{}
	if err != nil || s == "" {
		return err
	}
	var v health
	if json.Unmarshal([]byte(s), &v) != nil {
		return corrupt("health of a number")
	}
	if v.Since != 0 {
		c.to.Since, c.to.Reason = time.UnixMilli(v.Since).UTC(), v.Reason
	}
	for _, l := range v.Legs {
		c.to.Legs = append(c.to.Legs, masking.ShownLeg{At: time.UnixMilli(l.At).UTC(), Blame: l.Blame, Of: l.Of})
	}
	return nil
}

// NumberHealth reads the health of a number.
func (r *Reader) NumberHealth(ctx context.Context, tenant masking.TenantID, n e164.Number) (h masking.NumberHealth, err error) {
	err = r.row(ctx, `SELECT health FROM virtual_number WHERE number = ? AND tenant = ?`, []any{n.E164(), tenant}, healthCol{&h})
	return h, absent(err)
}

// SetNumberHealth writes the health of a number that nobody else has written since.
func (t *Tx) SetNumberHealth(ctx context.Context, tenant masking.TenantID, n e164.Number, was, is masking.NumberHealth) (changed bool, err error) {
	rows, err := t.exec(ctx, `UPDATE virtual_number SET health = ? WHERE number = ? AND tenant = ? AND health = ?`,
		healthText(is), n.E164(), tenant, healthText(was))
	return rows == 1, err
}
