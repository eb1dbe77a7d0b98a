// Command scalesim shows what becomes of a load when the database is many: by what it
// is divided, how even that is, what crosses from one part to another, what it costs to
// add a part, and what nodes cost each other by watching. See docs/scale.md, whose
// tables and picture it writes: the same ones each time.
//
// It counts; it measures nothing of a database.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	svg := flag.String("svg", "", "file to write the picture to")
	flag.Parse()
	fmt.Print(tables())
	if *svg == "" {
		return
	}
	if err := os.WriteFile(*svg, []byte(picture()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tables are all tables, each behind a line that names it.
func tables() string {
	text := "What an operation touches, and how even it is, with 64 shards:\n\n" + dividedTable()
	text += "\nOne tenant with 30 % of all load, on 64 shards, by how many cells he has:\n\n" + hotTable()
	text += "\nWhat moves when shards are added to 64:\n\n" + growthTable()
	return text + "\nWhat nodes read and write to see which of them live:\n\n" + nodesTable()
}
