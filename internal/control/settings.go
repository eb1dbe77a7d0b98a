package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Settings are the use cases of what a tenant sets himself.
type Settings struct {
	*core
	secret func(masking.TenantID) string
}

// Configured is a tenant with his settings.
type Configured struct {
	masking.Tenant
	StrangerSecret string // checks our questions about strangers; "" if there is none
}

func (s *Settings) configured(t masking.Tenant) Configured {
	if s.secret == nil {
		return Configured{t, ""}
	}
	return Configured{t, s.secret(t.ID)}
}

// Get reads a tenant's settings as they are now.
func (s *Settings) Get(ctx context.Context, id masking.TenantID) (Configured, error) {
	var t masking.Tenant
	err := s.view(ctx, "read settings", func(ctx context.Context, tx store.Reader) (err error) {
		t, err = tx.Tenant(ctx, id)
		return err
	})
	return s.configured(t), err
}

// Update changes a tenant's settings for himself. Refused is what no tenant may
// have and what this server cannot do; see [Tenants.Update] for what does not
// change with them.
func (s *Settings) Update(ctx context.Context, id masking.TenantID, edit func(*masking.Settings) error, once Once[Configured]) (Answer, error) {
	return change(ctx, s.core, id, "change settings", once,
		func(ctx context.Context, tx store.Tx, _ time.Time) (Configured, error) {
			t, err := tx.LockTenant(ctx, id)
			if err != nil {
				return Configured{}, err
			}
			if t.Settings, err = s.adjust(ctx, tx, t.ID, t.Settings, edit); err != nil {
				return Configured{}, err
			}
			return s.configured(t), tx.UpdateTenant(ctx, t)
		})
}

// adjust changes settings and refuses what no tenant may have. What is in force
// already is not judged again: an old value must not keep others from changing.
func (c *core) adjust(ctx context.Context, tx store.Tx, tenant masking.TenantID, had masking.Settings, edit func(*masking.Settings) error) (masking.Settings, error) {
	want := had
	if edit != nil {
		if err := edit(&want); err != nil {
			return had, err
		}
	}
	if err := want.Check(); err != nil {
		return had, err
	}
	if want.Language != had.Language && c.languages != nil && !slices.Contains(c.languages, want.Language) {
		return had, &masking.Error{Kind: masking.Invalid, Code: masking.CodeInvalidField, Field: "language",
			Message: "language must be one that this server speaks: " + strings.Join(c.languages, ", ")}
	}
	if want.Strangers.Forward != had.Strangers.Forward {
		return want, checkForward(ctx, tx, tenant, want.Guards, want.Strangers.Forward)
	}
	return want, nil
}

// checkForward refuses to send strangers to a number that may not be rung, and to
// one that is in any tenant's pool: the call would come back to us.
func checkForward(ctx context.Context, tx store.Tx, tenant masking.TenantID, g masking.Guards, to e164.Number) error {
	if to.IsZero() {
		return nil
	}
	if !g.Permits(to) {
		return masking.ErrNotPermitted("stranger_policy.forward_to")
	}
	virtual, err := tx.AnyVirtual(ctx, tenant, []e164.Number{to})
	if err != nil || !virtual {
		return err
	}
	return &masking.Error{Kind: masking.Invalid, Code: masking.CodePartyIsVirtual, Field: "stranger_policy.forward_to",
		Message: "stranger_policy.forward_to is a virtual number"}
}
