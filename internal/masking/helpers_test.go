package masking

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
)

var noon = time.Date(2024, 6, 15, 12, 0, 0, 123_000_000, time.UTC)

// person is the i-th telephone of the tests, vn the i-th virtual number.
func person(i int) e164.Number { return e164.MustParse(fmt.Sprintf("+9198000000%02d", i)) }
func vn(i int) e164.Number     { return e164.MustParse(fmt.Sprintf("+9140000000%02d", i)) }

func people(indices ...int) []e164.Number {
	list := make([]e164.Number, len(indices))
	for k, i := range indices {
		list[k] = person(i)
	}
	return list
}

func acme() Tenant { return Tenant{ID: "acme", Settings: DefaultSettings(time.UTC)} }

// few are lists that meet each other often.
func few(from, to int) *rapid.Generator[[]e164.Number] {
	return rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 14), person), from, to)
}

// code is the code of a refusal, "" without one.
func code(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// field is the field a refusal blames.
func field(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}

func active(t testing.TB, d Draft) Allocation {
	t.Helper()
	if d.Duration == 0 {
		d.Duration = time.Hour
	}
	a, err := d.New("gvn_1", acme(), noon)
	if err != nil {
		t.Fatal(err)
	}
	a.VirtualNumber = vn(1)
	return a
}

// greenpin is an allocation that is opened by 4801.
func greenpin(t testing.TB, d Draft) Allocation {
	t.Helper()
	d.Product = GreenPin
	if d.Duration == 0 {
		d.Duration = time.Hour
	}
	a, err := d.New("gp_1", acme(), noon)
	if err != nil {
		t.Fatal(err)
	}
	a.VirtualNumber, a.PIN = vn(1), "4801"
	return a
}
