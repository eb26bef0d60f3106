"""What tests of faults share with those of Dagster."""

from tests.dagster.conftest import no_home_of_others as no_home_of_others
