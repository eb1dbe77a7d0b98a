package main

import (
	"os"
	"strings"
	"testing"
)

func TestTheDocumentHasTheTablesAndThePictureOfTheSimulation(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(tables(), "\n") {
		if strings.HasPrefix(line, "|") && !strings.Contains(string(doc), line+"\n") {
			t.Errorf("go run ./test/load/scalesim -svg docs/scale.svg gives a line that is not in docs/scale.md:\n%s", line)
		}
	}
	drawn, err := os.ReadFile("../../../docs/scale.svg")
	if err != nil {
		t.Fatal(err)
	}
	if string(drawn) != picture() {
		t.Error("docs/scale.svg is another picture: go run ./test/load/scalesim -svg docs/scale.svg")
	}
}

// What the claim is for: whatever the numbers are divided by, a claim and everything that
// asks for it are in one place.
func TestNoClaimOperationCrossesShards(t *testing.T) {
	for _, d := range divisions()[1:] { // the first is what happens without one
		for _, shards := range []int{2, 64} {
			s := everyday()
			s.creates = 3000
			p := played(d, s, shards)
			if count, cross := p.claims(); cross != 0 || count < 9000 {
				t.Errorf("%s, %d shards: %d of %d cross", d.name, shards, cross, count)
			}
		}
	}
}

func TestRowsThatAreEachPutByTheirOwnKeyCross(t *testing.T) {
	s := everyday()
	s.creates = 1000
	p := played(divisions()[0], s, 64)
	if count, cross := p.claims(); cross*10 < count*9 {
		t.Errorf("%d of %d cross", cross, count)
	}
}

func TestCellsSpreadWhatATenantsShardCannotCarry(t *testing.T) {
	s := everyday()
	s.creates = 10_000
	byTenant, byCell := played(divisions()[1], s, 64), played(divisions()[3], s, 64)
	if byTenant.uneven() < 2*byCell.uneven() {
		t.Errorf("the busiest shard has %.2f of the mean by tenant, %.2f by cell", byTenant.uneven(), byCell.uneven())
	}
	if asked := byCell.mean(automatic); asked != 1 {
		t.Errorf("an automatic create asks %.2f shards", asked)
	}
}

func TestGrowingMovesNoMoreThanTheNewShardsGet(t *testing.T) {
	p := newPlaces(divisions()[3], everyday(), 64)
	before := append([]int(nil), p.of...)
	p.grow(96)
	moved := 0
	for i, shard := range p.of {
		if shard != before[i] {
			moved++
			if shard < 64 {
				t.Fatalf("slot %d moved from %d to %d, both old", i, before[i], shard)
			}
		}
	}
	if most := slots / 96 * 32; moved != most {
		t.Errorf("%d slots moved, want %d", moved, most)
	}
}
