package control

import (
	"context"
	"strconv"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// ParseParties reads a list of party numbers. It refuses what is no E.164
// number and emergency numbers, and says which place in the list is to blame,
// never what stands there.
func ParseParties(field string, texts []string) ([]e164.Number, error) {
	numbers := make([]e164.Number, 0, len(texts))
	for i, text := range texts {
		n, err := parseNumber(field, field+"["+strconv.Itoa(i)+"]", text)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// ParseNumber reads one number that a request names in field.
func ParseNumber(field, text string) (e164.Number, error) { return parseNumber(field, field, text) }

func parseNumber(field, place, text string) (e164.Number, error) {
	// An emergency number is too short for E.164 in most countries; it is
	// looked at first, so that the refusal says what is really wrong.
	if e164.Emergency(text) {
		return e164.Number{}, &masking.Error{Kind: masking.Invalid, Code: masking.CodeEmergencyNumber, Field: field,
			Message: place + " is an emergency number"}
	}
	n, err := e164.Parse(text)
	if err != nil {
		return e164.Number{}, &masking.Error{Kind: masking.Invalid, Code: masking.CodeInvalidNumber, Field: field,
			Message: place + " is not an E.164 number: + and 7 to 15 digits"}
	}
	return n, nil
}

// checkParties refuses parties that are in any tenant's pool: a call to one
// would come back to us. They must be sides as masking made them.
func checkParties(ctx context.Context, tx store.NumberReader, a masking.Allocation) error {
	virtual, err := tx.AnyVirtual(ctx, a.Tenant, a.Parties())
	if err != nil || !virtual {
		return err
	}
	field := "to"
	if inFrom, err := tx.AnyVirtual(ctx, a.Tenant, a.From); err != nil {
		return err
	} else if inFrom {
		field = "from"
	}
	return &masking.Error{Kind: masking.Invalid, Code: masking.CodePartyIsVirtual, Field: field,
		Message: "a number in " + field + " is a virtual number"}
}
