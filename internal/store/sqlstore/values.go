package sqlstore

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// corruptError says that a stored value is not what was written. It names the
// kind of value and never repeats it: it may be a telephone number.
type corruptError struct{ what string }

func (e *corruptError) Error() string { return "store: corrupt row: bad " + e.what }

func corrupt(what string) error { return &corruptError{what} }

// IsCorrupt tells that a row was read that is not what was written: the fault of the
// row, not of the connection.
func IsCorrupt(err error) bool {
	var c *corruptError
	return errors.As(err, &c)
}

// millis is how a time is stored; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// textOf gives the text of a column. The driver gives TEXT as string.
func textOf(src any, what string) (string, error) {
	switch v := src.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	return "", corrupt(what)
}

// numberCol scans a number as E164 gives it; an empty text is the zero number.
type numberCol struct{ to *e164.Number }

func (c numberCol) Scan(src any) error {
	s, err := textOf(src, "number")
	if err != nil {
		return err
	}
	if s == "" {
		*c.to = e164.Number{}
		return nil
	}
	n, err := e164.ParseStored(s)
	if err != nil {
		return corrupt("number")
	}
	*c.to = n
	return nil
}

// numbersCol scans a list of numbers with one space between them; an empty
// text is an empty list.
type numbersCol struct{ to *[]e164.Number }

func (c numbersCol) Scan(src any) error {
	s, err := textOf(src, "list of numbers")
	if err != nil {
		return err
	}
	*c.to = nil
	if s == "" {
		return nil
	}
	list := make([]e164.Number, 0, 1+strings.Count(s, " "))
	for part := range strings.SplitSeq(s, " ") {
		n, err := e164.ParseStored(part)
		if err != nil {
			return corrupt("list of numbers")
		}
		list = append(list, n)
	}
	*c.to = list
	return nil
}

func joinNumbers(list []e164.Number) string { return strings.Join(masking.Texts(list), " ") }

// timeCol scans Unix milliseconds; 0 is the zero time.
type timeCol struct{ to *time.Time }

func (c timeCol) Scan(src any) error {
	ms, ok := src.(int64)
	if !ok {
		return corrupt("time")
	}
	*c.to = time.Time{}
	if ms != 0 {
		*c.to = time.UnixMilli(ms).UTC()
	}
	return nil
}

// durationCol scans milliseconds.
type durationCol struct{ to *time.Duration }

func (c durationCol) Scan(src any) error {
	ms, ok := src.(int64)
	if !ok || ms > int64(1<<63-1)/int64(time.Millisecond) || ms < 0 {
		return corrupt("duration")
	}
	*c.to = time.Duration(ms) * time.Millisecond
	return nil
}

// wordCol scans one word of a closed list.
type wordCol[T ~string] struct {
	to    *T
	what  string
	words []T
}

func (c wordCol[T]) Scan(src any) error {
	s, err := textOf(src, c.what)
	if err != nil {
		return err
	}
	for _, w := range c.words {
		if string(w) == s {
			*c.to = w
			return nil
		}
	}
	return corrupt(c.what)
}

// hashCol scans 32 bytes.
type hashCol struct{ to *[32]byte }

func (c hashCol) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok || len(b) != len(c.to) {
		return corrupt("hash")
	}
	*c.to = [32]byte(b)
	return nil
}

// blobCol scans bytes; none is nil.
type blobCol struct{ to *[]byte }

func (c blobCol) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok && src != nil { // the driver gives an empty blob as nil
		return corrupt("blob")
	}
	*c.to = bytes.Clone(b)
	if len(b) == 0 {
		*c.to = nil
	}
	return nil
}

// blob is how bytes are stored; none is an empty blob.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// pinCol scans a PIN; an empty text is none.
type pinCol struct{ to *masking.PIN }

func (c pinCol) Scan(src any) error {
	s, err := textOf(src, "PIN")
	if err != nil {
		return err
	}
	pin, ok := masking.ParsePIN(s)
	if !ok && s != "" {
		return corrupt("PIN")
	}
	*c.to = pin
	return nil
}

// outerCol scans a column that an outer join may leave out, which is nil here:
// then the destination stays as it is.
type outerCol struct{ to any }

func (c outerCol) Scan(src any) error {
	if src == nil {
		return nil
	}
	switch to := c.to.(type) {
	case sql.Scanner:
		return to.Scan(src)
	case *int64:
		n, ok := src.(int64)
		if !ok {
			return corrupt("count")
		}
		*to = n
		return nil
	case *int:
		n, ok := src.(int64)
		if !ok {
			return corrupt("count")
		}
		*to = int(n)
		return nil
	case *bool:
		n, ok := src.(int64)
		*to = n != 0
		if !ok {
			return corrupt("flag")
		}
		return nil
	}
	s, err := textOf(src, "text")
	if err != nil {
		return err
	}
	switch to := c.to.(type) {
	case *string:
		*to = s
	case *masking.AllocationID:
		*to = masking.AllocationID(s)
	case *masking.TenantID:
		*to = masking.TenantID(s)
	case *masking.EndReason:
		*to = masking.EndReason(s)
	default:
		return fmt.Errorf("store: no way to scan into %T", to)
	}
	return nil
}

// Zones remembers the time zones by name: loading one reads a file.
type Zones struct{ byName sync.Map } // string → *time.Location

// load gives the zone of an IANA name. "" and "Local", which mean another zone
// on another machine, are refused.
func (z *Zones) load(name string) (*time.Location, error) {
	if v, ok := z.byName.Load(name); ok {
		return v.(*time.Location), nil
	}
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("store: %q is no name of a time zone", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("store: time zone: %w", err)
	}
	v, _ := z.byName.LoadOrStore(name, loc)
	return v.(*time.Location), nil
}

// name is what load turns into zone again.
func (z *Zones) name(zone *time.Location) (string, error) {
	if zone == nil {
		return "", errors.New("store: a tenant needs a time zone")
	}
	if _, err := z.load(zone.String()); err != nil {
		return "", err
	}
	return zone.String(), nil
}

// zoneCol scans the name of a time zone.
type zoneCol struct {
	zones *Zones
	to    **time.Location
}

func (c zoneCol) Scan(src any) error {
	s, err := textOf(src, "time zone")
	if err != nil {
		return err
	}
	loc, err := c.zones.load(s)
	if err != nil {
		return corrupt("time zone")
	}
	*c.to = loc
	return nil
}
