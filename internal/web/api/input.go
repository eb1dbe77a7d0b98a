package api

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
)

// parseID reads an identifier from a path. What cannot be one is not found:
// whether it is malformed or unknown is nobody's business.
func parseID[T ~string](prefix, text string) (T, error) {
	if !plausible(prefix, text) {
		return "", masking.ErrNotFound()
	}
	return T(text), nil
}

// plausible accepts the prefix and 1 to 64 lower-case letters and digits.
func plausible(prefix, text string) bool {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok || rest == "" || len(rest) > 64 {
		return false
	}
	for i := range len(rest) {
		if c := rest[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// cursor makes an opaque cursor of the last item of a page.
func cursor(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }

// openCursor reads a cursor; "" for none.
func openCursor(text string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) > 128 {
		return "", errCursor()
	}
	return string(b), nil
}

func errCursor() error { return invalidField("cursor", "cursor is not one that a list gave") }

// cursorID reads a cursor that stands for an identifier.
func cursorID[T ~string](prefix, text string) (T, error) {
	last, err := openCursor(text)
	if err != nil || last == "" {
		return "", err
	}
	if !plausible(prefix, last) {
		return "", errCursor()
	}
	return T(last), nil
}

// queryNumber reads a number from a query; "" is none. A plus that was not
// percent-encoded arrives as a space, and is still meant.
func queryNumber(field, text string) (e164.Number, error) {
	if text == "" {
		return e164.Number{}, nil
	}
	return control.ParseNumber(field, plus(text))
}

// queryTime reads an RFC 3339 time from a query; "" is none.
func queryTime(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if i := strings.LastIndexByte(text, ' '); i > len("2006-01-02T15:04") {
		text = text[:i] + "+" + text[i+1:]
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, invalidField(field, field+" must be an RFC 3339 time")
	}
	return t, nil
}

func plus(text string) string {
	if strings.HasPrefix(text, " ") {
		return "+" + text[1:]
	}
	return text
}

// choice reads one of a few words; "" is the first.
func choice[T ~string](field, text string, words ...T) (T, error) {
	if text == "" {
		return words[0], nil
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		if string(w) == text {
			return w, nil
		}
		quoted[i] = `"` + string(w) + `"`
	}
	return "", invalidField(field, field+" must be "+strings.Join(quoted, " or "))
}

// value is what p points to, or nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// seconds makes a duration of a count that may be absurd: what overflows
// stays out of every range.
func seconds(n int64) time.Duration {
	const most = int64(1) << 32
	return time.Duration(max(min(n, most), -most)) * time.Second
}

// tenantOf reads the tenant that an operator names.
func (s *server) tenantOf(ctx context.Context, in TenantPath) (masking.Tenant, error) {
	id, err := in.tenant()
	if err != nil {
		return masking.Tenant{}, err
	}
	return s.Plane.Tenants.Get(ctx, id)
}

// tenant reads the tenant id of an operator's path.
func (p TenantPath) tenant() (masking.TenantID, error) {
	id, err := masking.ParseTenantID(p.TenantID)
	if err != nil {
		return "", masking.ErrNotFound()
	}
	return id, nil
}
