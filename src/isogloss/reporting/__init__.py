"""Tables, figures and the page (Section 6.2): what the outcomes of runs add up to."""
