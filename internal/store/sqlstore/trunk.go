package sqlstore

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tandem/internal/masking"
	"tandem/internal/store"
)

const trunkColumns = `name, sources, targets, transport, country, number_format, trust_identity, priority, weight,
	max_calls, max_cps, caller_ids, strip_prefixes, add_prefix, auth_username, auth_realm, auth_password, register_domain,
	register_contact, register_expires, options_every, srtp, takeover, created_at, updated_at`

// trunkDest are the destinations of trunkColumns.
func trunkDest(t *masking.Trunk) []any {
	return []any{&t.Name, fieldsCol[netip.Prefix]{&t.Sources, "prefix", netip.ParsePrefix},
		fieldsCol[masking.Target]{&t.Targets, "address", parseTarget},
		wordCol[masking.Transport]{&t.Transport, "transport", []masking.Transport{masking.UDP, masking.TCP, masking.TLS, masking.ByDNS}}, &t.Country,
		wordCol[masking.NumberFormat]{&t.NumberFormat, "number format",
			[]masking.NumberFormat{masking.FormatE164, masking.FormatPlain, masking.FormatNational}},
		&t.TrustIdentity, &t.Priority, &t.Weight, &t.MaxCalls, &t.MaxCPS,
		fieldsCol[string]{&t.CallerIDs, "caller ID", word},
		fieldsCol[string]{&t.StripPrefixes, "prefix", word}, &t.AddPrefix, &t.Auth.Username, &t.Auth.Realm, blobCol{&t.Auth.Sealed},
		&t.Register.Domain, &t.Register.ContactUser, durationCol{&t.Register.Expires}, durationCol{&t.OptionsEvery},
		wordCol[masking.SRTP]{&t.SRTP, "SRTP", []masking.SRTP{"", masking.SRTPOff, masking.SRTPOptional, masking.SRTPRequired}},
		wordCol[masking.Takeover]{&t.Takeover, "takeover", []masking.Takeover{"", masking.TakeoverAuto, masking.TakeoverOn, masking.TakeoverOff}},
		timeCol{&t.CreatedAt}, timeCol{&t.UpdatedAt}}
}

func word(s string) (string, error) { return s, nil }

func parseTarget(s string) (masking.Target, error) {
	t, ok := masking.ParseTarget(s)
	if !ok {
		return t, corrupt("target")
	}
	return t, nil
}

// trunkValues are what is written in the columns that an update may change.
func trunkValues(v masking.Trunk) []any {
	return []any{joinFields(v.Sources), joinFields(v.Targets), v.Transport, v.Country, v.NumberFormat, v.TrustIdentity,
		v.Priority, v.Weight, v.MaxCalls, v.MaxCPS, strings.Join(v.CallerIDs, " "), strings.Join(v.StripPrefixes, " "), v.AddPrefix,
		v.Auth.Username, v.Auth.Realm, blob(v.Auth.Sealed), v.Register.Domain, v.Register.ContactUser,
		v.Register.Expires.Milliseconds(), v.OptionsEvery.Milliseconds(), v.SRTP, v.Takeover}
}

func scanTrunk(_ *Reader, row Scanner) (t masking.Trunk, err error) {
	return t, row.Scan(trunkDest(&t)...)
}

// fieldsCol scans a list whose elements have one space between them.
type fieldsCol[T any] struct {
	to    *[]T
	what  string
	parse func(string) (T, error)
}

func (c fieldsCol[T]) Scan(src any) error {
	s, err := textOf(src, c.what)
	if err != nil {
		return err
	}
	*c.to = nil
	for _, part := range strings.Fields(s) {
		v, err := c.parse(part)
		if err != nil {
			return corrupt(c.what)
		}
		*c.to = append(*c.to, v)
	}
	return nil
}

func joinFields[T fmt.Stringer](list []T) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = v.String()
	}
	return strings.Join(parts, " ")
}

// Trunk reads one trunk.
func (r *Reader) Trunk(ctx context.Context, name string) (t masking.Trunk, err error) {
	r.c.Lock(ForNoKeyUpdate, `trunk WHERE name = ?`, name)
	err = r.row(ctx, `SELECT `+trunkColumns+` FROM trunk WHERE name = ?`, []any{name}, trunkDest(&t)...)
	return t, absent(err)
}

// Trunks are all trunks, by name.
func (r *Reader) Trunks(ctx context.Context) ([]masking.Trunk, error) {
	return list(ctx, r, `SELECT `+trunkColumns+` FROM trunk ORDER BY name`, nil, scanTrunk)
}

// InsertTrunk writes a new trunk.
func (t *Tx) InsertTrunk(ctx context.Context, v masking.Trunk) error {
	t.c.Wrote(store.TopicTrunks)
	return t.insert(ctx, "a trunk with this name", `INSERT INTO trunk (`+trunkColumns+`) VALUES (`+marks(25)+`)`,
		slices.Concat([]any{v.Name}, trunkValues(v), []any{millis(v.CreatedAt), millis(v.UpdatedAt)})...)
}

// UpdateTrunk writes everything but the creation.
func (t *Tx) UpdateTrunk(ctx context.Context, v masking.Trunk) error {
	t.c.Wrote(store.TopicTrunks)
	return exactlyOne(t.exec(ctx, `UPDATE trunk SET sources = ?, targets = ?, transport = ?, country = ?, number_format = ?,
		trust_identity = ?, priority = ?, weight = ?, max_calls = ?, max_cps = ?, caller_ids = ?, strip_prefixes = ?, add_prefix = ?,
		auth_username = ?, auth_realm = ?, auth_password = ?, register_domain = ?, register_contact = ?, register_expires = ?,
		options_every = ?, srtp = ?, takeover = ?, updated_at = ? WHERE name = ?`,
		append(trunkValues(v), millis(v.UpdatedAt), v.Name)...))
}

// DeleteTrunk removes a trunk.
func (t *Tx) DeleteTrunk(ctx context.Context, name string) error {
	t.c.Wrote(store.TopicTrunks)
	return exactlyOne(t.exec(ctx, `DELETE FROM trunk WHERE name = ?`, name))
}
