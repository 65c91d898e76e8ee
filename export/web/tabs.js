// Two ways to use the page, one shown at a time; the choice is part of the address.

/**
 * Makes tabs of a list of buttons: arrows move between them, as the ARIA pattern has it.
 *
 * @param {HTMLElement} list Of role tablist; each of its buttons names its panel in aria-controls.
 * @param {(panel: string) => void} changed Called with the id of the panel that was chosen.
 * @returns {{chosen: () => string}} The id of the panel shown.
 */
export function tabs(list, changed) {
  const buttons = [...list.querySelectorAll('[role="tab"]')];
  const panelOf = (button) => document.getElementById(button.getAttribute("aria-controls"));
  const chosen = () => buttons.find((button) => button.getAttribute("aria-selected") === "true");
  const choose = (button) => {
    for (const each of buttons) {
      each.setAttribute("aria-selected", each === button);
      each.tabIndex = each === button ? 0 : -1;
      panelOf(each).hidden = each !== button;
    }
    history.replaceState(null, "", `#${panelOf(button).id}`);
    changed(panelOf(button).id);
  };
  for (const button of buttons) {
    button.addEventListener("click", () => choose(button));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const next = buttons.at((buttons.indexOf(button) + step) % buttons.length);
      choose(next);
      next.focus();
    });
  }
  const asked = buttons.find((button) => `#${panelOf(button).id}` === location.hash);
  if (asked) choose(asked);
  return { chosen: () => panelOf(chosen()).id };
}
